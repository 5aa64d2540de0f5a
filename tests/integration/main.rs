//! The worker as its users meet it: real processes against a real PostgreSQL, a real RabbitMQ and a simulated Teamleader.
//!
//! Each test has a stage of its own (see [`stage`]) and asserts the final world: rows against the account's truth, events,
//! tokens, and what was asked of the API. `make test` starts the servers and sets `DATABASE_URL` and `AMQP_URL`; it also switches
//! the feature `fault-points` on, without which there are no tests of the seams.

#![expect(clippy::too_many_lines, reason = "a test says in one piece what happens")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr, clippy::print_stdout, missing_docs)]

mod advice;
mod alerts;
mod always_on_audit;
mod answers;
mod audits;
mod authorization;
mod blueprint;
mod borders;
mod broker_limits;
mod cancel;
mod certificate;
mod command_line;
mod commands;
#[cfg(feature = "compat")]
mod compat;
mod controller_answers;
mod crashes;
mod custom_fields;
mod dashboard;
mod dead_letters;
mod deletions;
mod doctor;
mod drift;
mod economy;
mod events;
mod export;
mod export_files;
mod failures;
mod fields;
mod forecast;
mod foreign_database;
mod given_tokens;
mod grants;
mod healthcheck;
mod history;
mod http;
mod http_api;
mod http_guard;
mod incremental;
mod joined_views;
mod logs;
mod main_job;
mod money_answers;
mod numbers;
mod odd_answers;
#[cfg(feature = "fault-points")]
mod panics;
mod passes;
mod poolers;
mod questions;
mod rate_limit;
mod reconciliation;
mod refusals;
mod rejected;
mod repetition;
mod replies;
mod restored;
mod screen;
#[cfg(feature = "fault-points")]
mod seams;
mod secrets;
mod security;
mod shutdown;
mod slices;
#[path = "../stage/mod.rs"]
mod stage;
mod states;
#[cfg(feature = "fault-points")]
mod token_seams;
mod tokens;
mod traces;
mod typed_columns;
mod upgrades;
mod versions;
mod views;
mod wake_ups;
mod webhook_loss;
#[cfg(feature = "fault-points")]
mod webhook_seams;
mod webhook_surfaces;
mod webhooks;
mod whole_api;
mod whose;
