-- What reads a column of a view runs these, and so does who writes a row that an index is of: also where PUBLIC is given nothing by default.
grant execute on all functions in schema teamleader_views to public;

-- Who may read the records and the views, and nothing else: made where this role may make roles, and given what is this role's to give.
do $$
declare
    it record;
begin
    if not exists (select from pg_roles where rolname = 'teamleader_reader') then
        begin
            create role teamleader_reader nologin;
            comment on role teamleader_reader is 'May read schemas teamleader and teamleader_views.';
        exception when insufficient_privilege or duplicate_object or unique_violation then
            null;
        end;
    end if;
    if not exists (select from pg_roles where rolname = 'teamleader_reader') then
        return;
    end if;
    for it in
        select nspname from pg_namespace
        where nspname in ('teamleader', 'teamleader_views') and pg_has_role(nspowner, 'usage')
            and not has_schema_privilege('teamleader_reader', oid, 'usage')
    loop
        execute format('grant usage on schema %I to teamleader_reader', it.nspname);
        execute format('alter default privileges in schema %I grant select on tables to teamleader_reader', it.nspname);
    end loop;
    for it in
        select oid::regclass as name from pg_class
        where relnamespace in ('teamleader'::regnamespace, 'teamleader_views'::regnamespace) and relkind in ('r', 'p', 'v')
            and pg_has_role(relowner, 'usage') and not has_table_privilege('teamleader_reader', oid, 'select')
    loop
        execute format('grant select on %s to teamleader_reader', it.name);
    end loop;
end
$$;
