{{ config(
    materialized='incremental',
    incremental_strategy='delete+insert',
    unique_key='invoice_key',
    on_schema_change='fail',
    indexes=[{'columns': ['invoice_key'], 'unique': true}, {'columns': ['_changed_at']}],
    post_hook="{{ teamleader_remove('_deleted_at is not null') }}"
) }}

-- Only what the invoice itself tells. What others tell (a customer's name of today, a department's) is joined: it changes, and the invoice's
-- _changed_at does not rise.
select
    {{ teamleader_key('id') }} as invoice_key,
    account,
    id as invoice_id,
    invoice_number,
    invoice_date,
    due_on,
    status,
    paid as is_paid,
    paid_at,
    sent as is_sent,
    {{ teamleader_key('invoicee_customer_id') }} as customer_key,
    invoicee_customer_type as customer_type,
    invoicee_customer_id as customer_id,
    invoicee_name,
    invoicee_vat_number,
    department_id,
    deal_id,
    project_type,
    project_id,
    purchase_order_number,
    payment_reference,
    total_tax_exclusive_amount as total_tax_exclusive,
    total_tax_exclusive_currency,
    total_tax_inclusive_amount as total_tax_inclusive,
    total_tax_inclusive_currency,
    total_payable_amount as total_payable,
    total_payable_currency,
    total_due_amount as total_due,
    total_due_currency,
    currency_exchange_rate_from,
    currency_exchange_rate_to,
    currency_exchange_rate_rate as currency_exchange_rate,
    created_at,
    updated_at,
    web_url,
    _changed_at,
    _deleted_at
from {{ source('teamleader', 'invoices_with_deleted') }}
{% if is_incremental() -%}
where {{ teamleader_changed() }}
{%- else -%}
where _deleted_at is null
{%- endif %}
