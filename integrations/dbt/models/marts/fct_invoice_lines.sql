{{ config(
    materialized='incremental',
    incremental_strategy='delete+insert',
    unique_key='invoice_key',
    on_schema_change='fail',
    indexes=[{'columns': ['invoice_key']}, {'columns': ['_changed_at']}],
    post_hook="{{ teamleader_remove('invoice_line_key is null') }}"
) }}

-- A line has no id, so the lines of an invoice are replaced together: `unique_key` is the invoice's. An invoice that has no lines any more,
-- or is gone, is a row without a line, for its lines to be taken out.
with invoices as (
    select account, id, _changed_at
    from {{ source('teamleader', 'invoices_with_deleted') }}
    {% if is_incremental() -%}
    where {{ teamleader_changed() }}
    {%- else -%}
    where _deleted_at is null
    {%- endif %}
)

select
    {{ teamleader_key('invoices.id', 'invoices.account') }} || ':' || lines.group_position || ':' || lines.position as invoice_line_key,
    {{ teamleader_key('invoices.id', 'invoices.account') }} as invoice_key,
    invoices.account,
    invoices.id as invoice_id,
    lines.group_position,
    lines.group_section_title,
    lines.position,
    lines.product_id,
    lines.product_category_id,
    lines.description,
    lines.extended_description,
    lines.quantity,
    lines.unit_id,
    lines.unit_price_amount as unit_price,
    lines.unit_price_tax,
    lines.tax_id,
    lines.discount_type,
    lines.discount_value,
    lines.total_tax_exclusive_amount as total_tax_exclusive,
    lines.total_tax_exclusive_currency,
    lines.total_tax_inclusive_amount as total_tax_inclusive,
    lines.total_tax_inclusive_currency,
    invoices._changed_at
from invoices
{% if is_incremental() %}left{% else %}inner{% endif %} join {{ source('teamleader', 'invoice_lines') }} as lines
    on lines.account = invoices.account and lines.invoice_id = invoices.id
