{# Two accounts may hold the same record, if both are copied into one database: an id is of one record only together with its account. Null
   where the id is. #}
{% macro teamleader_key(id, account='account') -%}
({{ account }} || ':' || {{ id }})
{%- endmacro %}
