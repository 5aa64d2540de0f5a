{# What an incremental run has to read: all that changed since the newest row that the mart has, and what changed shortly before, again.

   - `>=`: rows that were written by one transaction have the same _changed_at, and a run may have seen some of the records and not others.
   - The overlap: _changed_at is the time at which a transaction began (or a row was written), not when others could see it. A run that reads
     in between sees newer rows and not these; the next run finds them as long as the transaction was not longer than the overlap. The worker's
     last seconds: no statement of theirs may take more than 2 minutes. #}
{% macro teamleader_changed() -%}
_changed_at >= (select coalesce(max(_changed_at), '-infinity') from {{ this }}) - interval '{{ var("teamleader_overlap") }}'
{%- endmacro %}

{# For a post-hook: what an incremental run has brought in only so that `delete+insert` took out what was there under its key. It is the same
   transaction, so nobody sees it. A first run and a full refresh have brought in none. #}
{% macro teamleader_remove(condition) -%}
{% if is_incremental() %}delete from {{ this }} where {{ condition }}{% endif %}
{%- endmacro %}
