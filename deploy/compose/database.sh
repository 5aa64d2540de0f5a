#!/bin/sh
# Run once, by PostgreSQL's image when it makes its data: the worker's role, which is no superuser and makes no roles, its database, and the role
# of readers. The password is the worker's. The superuser is left without one: it logs in by the socket within the container alone, with
# `docker compose exec postgres psql --username=postgres`.
set -eu
psql --no-psqlrc --quiet --set=ON_ERROR_STOP=1 --username="$POSTGRES_USER" --dbname=postgres <<'SQL'
\set password `cat "$POSTGRES_PASSWORD_FILE"`
create role teamleader2db login password :'password';
create role teamleader_reader nologin;
create database teamleader2db owner teamleader2db;
alter role current_user password null;
SQL
