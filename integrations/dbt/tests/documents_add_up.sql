-- A row for each invoice or credit note that does not add up, with what is expected and found. Only a warning: what your bookkeeper knows of
-- stays. `dbt test --select documents_add_up --store-failures` stores them.
{{ config(severity='warn') }}

select account, "check", document, document_id, number, expected, found, difference, currency, meaning
from {{ source('teamleader', 'reconciliation') }}
{%- if var('teamleader_accounts') %}
where account in ('{{ var("teamleader_accounts") | join("', '") }}')
{%- endif %}
