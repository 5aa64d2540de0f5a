-- Fields that the API no longer gives go from the rows, too.

-- Nullable and without a default: no row is written.
alter table teamleader.record add column list_fields text[];
comment on column teamleader.record.list_fields is
    'The names of the fields that the list item had, sorted, where there is a detail and they were other than the documented ones. Null: the documented ones, or all of the content is of the list.';
comment on column teamleader.record.content is 'The fields of the last item of the .list endpoint, overlaid by those of the last answer of the .info endpoint. U+0000 and lone surrogates, which jsonb refuses, are stored as U+FFFD; a number of more than 1,000 digits, written out, as a text.';

create or replace function teamleader2db.field_names(record jsonb) returns text[]
    language sql immutable strict parallel safe
    as $$ select array(select jsonb_object_keys(record) collate "C" order by 1) $$;
comment on function teamleader2db.field_names is 'The names of a record''s fields, sorted by their bytes.';

create or replace function teamleader2db.only_fields(record jsonb, names text[]) returns jsonb
    language sql immutable strict parallel safe
    as $$ select record - array(select jsonb_object_keys(record - names)) $$;
comment on function teamleader2db.only_fields is 'The record without all fields but these.';
