{# When the sync last succeeded that is behind this source, of the account that waits longest. Not the newest _changed_at: an account in which
   nothing changes is not stale. Null, which dbt takes for endlessly long ago, where the resource has never been synced.

   Views of lists within records name the view of the records in `meta.records`. `meta.one_kind`: an account has projects of one kind, and
   those of the other are never synced. The source `freshness` itself tells when the marts' resources were last read whole. #}
{% macro teamleader_last_success(source) -%}
{%- set whole = source.identifier == 'freshness' -%}
{%- set records = source.meta.get('records', source.identifier | replace('_with_deleted', '')) -%}
{%- set views = ['companies', 'contacts', 'deals', 'invoices', 'time_tracking'] if whole else [records] -%}
{%- set oldest = 'min(last_full_at)' if whole else 'min(last_success_at)' -%}
select {% if source.meta.get('one_kind') %}coalesce({{ oldest }}, now()){% else %}{{ oldest }}{% endif %}
from {{ api.Relation.create(database=source.database, schema=source.schema, identifier='freshness') }}
where view in ('{{ views | join("', '") }}')
{%- if var('teamleader_accounts') %} and account in ('{{ var("teamleader_accounts") | join("', '") }}'){% endif %}
{%- endmacro %}
