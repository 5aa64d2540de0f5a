-- Schema teamleader_views: typed views of the records. They are made by `migrate` from the program's catalog, not here: what stands here is
-- what they stand on.

create schema teamleader_views;
comment on schema teamleader_views is 'The records of schema teamleader as views with typed columns.';

-- Each gives null for what it cannot read, and never an error: neither by a cast that fails nor by a subtransaction, which would forbid
-- parallel plans. Which days a month has is known to jsonpath, which can be told to be silent. [0-9] and [.], as what a backslash means depends
-- on settings; no function of this schema in another, as whoever asks a view of their own may have no right to the schema. Declared immutable:
-- a text that says its date and its offset in full means the same under all settings. Years beyond 1000 to 9998 are null: clients cannot show them.

create function teamleader_views.as_uuid(value text) returns uuid
language plpgsql immutable strict parallel safe as $$
begin
    return case when value like '________-____-____-____-____________' and value not like '%-%-%-%-%-%' and value !~ '[^0-9a-fA-F-]'
        then value::uuid end;
end
$$;
comment on function teamleader_views.as_uuid(text) is 'A UUID; null if the text is none.';

create function teamleader_views.as_date(value text) returns date
language plpgsql immutable strict parallel safe as $$
begin
    return case when value like '____-__-__' and value !~ '[^0-9-]' and value not like '%-%-%-%' and value !~ '^(0|9999)'
            and jsonb_path_exists(to_jsonb(value), '$.datetime("YYYY-MM-DD")', '{}', true)
        then value::date end;
end
$$;
comment on function teamleader_views.as_date(text) is 'A date like 2017-04-26; null if the text is none.';

create function teamleader_views.as_instant(value text) returns timestamptz
language plpgsql immutable strict parallel safe as $$
begin
    return case when value ~ '^[1-9][0-9]{3}-[0-9]{2}-[0-9]{2}[T ]([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]([.][0-9]{1,9})?(Z|[+-](0[0-9]|1[0-4]):?[0-5][0-9])$'
            and value !~ '^9999' and jsonb_path_exists(to_jsonb(left(value, 10)), '$.datetime("YYYY-MM-DD")', '{}', true)
        then value::timestamptz end;
end
$$;
comment on function teamleader_views.as_instant(text) is 'A moment like 2017-04-26T10:01:49+00:00, of any offset; null if the text is none.';

create function teamleader_views.as_time(value text) returns timestamp
language plpgsql immutable strict parallel safe as $$
begin
    return case
        when value !~ '^[1-9][0-9]{3}-[0-9]{2}-[0-9]{2}[T ]([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]([.][0-9]{1,9})?(Z|[+-](0[0-9]|1[0-4]):?[0-5][0-9])?$'
            or value ~ '^9999' or not jsonb_path_exists(to_jsonb(left(value, 10)), '$.datetime("YYYY-MM-DD")', '{}', true)
        then null
        -- After the seconds only an offset has these.
        when substr(value, 20) ~ '[Z+-]' then value::timestamptz at time zone 'UTC'
        else value::timestamp end;
end
$$;
comment on function teamleader_views.as_time(text) is
    'A time like 2017-05-01 12:00:00, which says no offset; of one that says it, the time in UTC; null if the text is neither.';

create function teamleader_views.as_texts(value jsonb) returns text[]
language plpgsql immutable strict parallel safe as $$
begin
    return case when jsonb_typeof(value) = 'array'
        then array(select element #>> '{}' from jsonb_array_elements(value) with ordinality as e (element, position) order by position) end;
end
$$;
comment on function teamleader_views.as_texts(jsonb) is 'The elements of a list, as texts in its order; null if it is none.';

create table teamleader2db.custom_field_column (
    view          text   not null,
    definition_id uuid   not null,
    part          text   not null check (part in ('value', 'currency')),
    name          text   not null,
    label         text   not null,
    type          text   not null,
    former_names  text[] not null default '{}',
    primary key (view, definition_id, part),
    unique (view, name)
);
comment on table teamleader2db.custom_field_column is 'The columns of the views with a column a custom field, such as contacts_wide.';
comment on column teamleader2db.custom_field_column.view is 'The view in schema teamleader_views.';
comment on column teamleader2db.custom_field_column.definition_id is 'The custom field definition.';
comment on column teamleader2db.custom_field_column.part is 'value; currency, beside an amount.';
comment on column teamleader2db.custom_field_column.name is 'The column.';
comment on column teamleader2db.custom_field_column.label is 'The label that the name was made from.';
comment on column teamleader2db.custom_field_column.type is 'The type of the definition.';
comment on column teamleader2db.custom_field_column.former_names is 'What the column was called before, the oldest first.';

create table teamleader2db.view_problem (
    view    text        primary key,
    problem text        not null,
    since   timestamptz not null default now()
);
comment on table teamleader2db.view_problem is 'Views of schema teamleader_views that are not as they should be.';
comment on column teamleader2db.view_problem.view is 'The view.';
comment on column teamleader2db.view_problem.problem is 'What could not be done, and how to mend it.';
comment on column teamleader2db.view_problem.since is 'When that was first tried in vain.';

-- A record that another names is looked up by its id alone, as long as nobody writes the account beside it; the primary key begins with that.
create index record_id on teamleader.record (id);

-- By what people choose among many: a period, a customer, what was worked on. The expressions are those of the views.
create index invoices_date on teamleader.invoices (teamleader_views.as_date(content #>> '{invoice_date}'));
create index invoices_customer on teamleader.invoices (teamleader_views.as_uuid(content #>> '{invoicee,customer,id}'));
create index time_tracking_started_on on teamleader.time_tracking (teamleader_views.as_date(content #>> '{started_on}'));
create index time_tracking_subject on teamleader.time_tracking (teamleader_views.as_uuid(content #>> '{subject,id}'));
create index deals_customer on teamleader.deals (teamleader_views.as_uuid(content #>> '{lead,customer,id}'));

-- How many rows have the words that people filter by: PostgreSQL would take each for as rare as one in 200, and plan by that.
create statistics teamleader.companies_status on
    (jsonb_path_query_first(content, 'strict $."status" ? (@.type() != "object" && @.type() != "array")', '{}', true) #>> '{}')
    from teamleader.companies;
create statistics teamleader.contacts_status on
    (jsonb_path_query_first(content, 'strict $."status" ? (@.type() != "object" && @.type() != "array")', '{}', true) #>> '{}')
    from teamleader.contacts;
create statistics teamleader.deals_status on
    (jsonb_path_query_first(content, 'strict $."status" ? (@.type() != "object" && @.type() != "array")', '{}', true) #>> '{}')
    from teamleader.deals;
create statistics teamleader.invoices_status on
    (jsonb_path_query_first(content, 'strict $."status" ? (@.type() != "object" && @.type() != "array")', '{}', true) #>> '{}')
    from teamleader.invoices;
create statistics teamleader.invoices_customer_type on
    (jsonb_path_query_first(content, 'strict $."invoicee"."customer"."type" ? (@.type() != "object" && @.type() != "array")', '{}', true) #>> '{}')
    from teamleader.invoices;
create statistics teamleader.invoices_currency on
    (jsonb_path_query_first(content, 'strict $."total"."tax_exclusive"."currency" ? (@.type() != "object" && @.type() != "array")', '{}', true) #>> '{}')
    from teamleader.invoices;
create statistics teamleader.time_tracking_subject_type on
    (jsonb_path_query_first(content, 'strict $."subject"."type" ? (@.type() != "object" && @.type() != "array")', '{}', true) #>> '{}')
    from teamleader.time_tracking;
