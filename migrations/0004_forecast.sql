-- What runs took, to say before the next one how many requests it will need.

alter table teamleader2db.sync_step add pages bigint not null default 0;
comment on column teamleader2db.sync_step.pages is 'List requests of the first pass.';

alter table teamleader2db.sync_step add usual_pages bigint, add usual_details bigint;
comment on column teamleader2db.sync_step.usual_pages is 'pages of the last step of its kind (complete or incremental); null: there was none.';
comment on column teamleader2db.sync_step.usual_details is 'detailed of the last incremental step; null: there was none.';

alter table teamleader2db.cursor add complete_pages bigint, add incremental_pages bigint, add incremental_details bigint;
comment on column teamleader2db.cursor.complete_pages is 'List requests of the last complete pass; null: there was none.';
comment on column teamleader2db.cursor.incremental_pages is 'List requests of the last incremental pass; null: there was none.';
comment on column teamleader2db.cursor.incremental_details is 'Details that the run of the last incremental pass fetched.';
