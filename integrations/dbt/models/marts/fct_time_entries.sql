{{ config(
    materialized='incremental',
    incremental_strategy='delete+insert',
    unique_key='time_entry_key',
    on_schema_change='fail',
    indexes=[{'columns': ['time_entry_key'], 'unique': true}, {'columns': ['_changed_at']}],
    post_hook="{{ teamleader_remove('_deleted_at is not null') }}"
) }}

select
    {{ teamleader_key('id') }} as time_entry_key,
    account,
    id as time_entry_id,
    user_id,
    work_type_id,
    started_on,
    started_at,
    ended_at,
    duration as duration_seconds,
    duration / 3600.0 as duration_hours,
    description,
    subject_type,
    subject_id,
    projects_v2_task_id,
    invoiceable as is_invoiceable,
    billing_info_type as billing_type,
    {{ teamleader_key('billing_info_invoice_id') }} as invoice_key,
    hourly_rate_amount as hourly_rate,
    hourly_rate_currency,
    _changed_at,
    _deleted_at
from {{ source('teamleader', 'time_tracking_with_deleted') }}
{% if is_incremental() -%}
where {{ teamleader_changed() }}
{%- else -%}
where _deleted_at is null
{%- endif %}
