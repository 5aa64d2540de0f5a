//! The broker: the way there, the login, and the queues.

use super::args::DoctorArgs;
use super::finding::{Finding, wrong};
use super::queues;
use crate::broker::link::{self, AmqpError};
use crate::broker::server::Server;
use crate::broker::topology::{Declare, Differing, Names};

pub(super) async fn examine(args: &DoctorArgs) -> Vec<Finding> {
    let prepared = args.amqp.url().and_then(|url| Ok((url, args.amqp.names(args.copy.account())?)));
    let (url, names) = match prepared {
        Ok(prepared) => prepared,
        Err(error) => {
            return vec![wrong(error, "fix AMQP_URL, or AMQP_PREFIX, as it says")];
        }
    };
    let (connection, server) = match link::connect_and_ask(link::BODY_BOUND, &url, "teamleader2db doctor").await {
        Ok(connected) => connected,
        Err(AmqpError::Unreachable { address, cause, advice }) => {
            return vec![wrong(format!("no connection to {address}: {cause}"), advice)];
        }
        Err(error) => return vec![wrong(error, "see the broker's log")],
    };
    let mut findings = version(&server);
    // First a look, which changes nothing; then, if the worker would declare, with all settings: they must be the same.
    let would_declare = args.amqp.amqp_declare == Declare::Create;
    let looked = names.declare(&connection, Declare::Check).await;
    let is_there = looked.is_ok();
    let declared = if is_there && would_declare { names.declare(&connection, Declare::Create).await } else { looked };
    let differing = declared.as_ref().map_or(&[][..], Vec::as_slice);
    findings.extend(differing.iter().map(|queue| differs(queue, &names)));
    findings.push(match declared {
        Ok(_) => Finding::Well(format!("all queues are there, {} among them", names.requests_queue())),
        Err(AmqpError::Topology { what, why, fix }) => {
            let fix = if would_declare && !is_there {
                "`worker` declares missing exchanges and queues when it starts".to_owned()
            } else {
                fix
            };
            wrong(format!("{what} cannot be used as it stands: {why}"), fix)
        }
        Err(error) => wrong(error, "see the broker's log"),
    });
    // A look was all; the goodbye does not matter.
    link::close(&connection).await;
    findings.extend(queues::examine(&url, &names).await);
    findings
}

/// The version, and what is known of it.
fn version(server: &Server) -> Vec<Finding> {
    let name = format!("{} {}", server.product, server.version);
    if server.is_too_old() == Some(true) {
        return vec![wrong(format!("{name} is too old"), format!("{} or later is needed", Server::oldest()))];
    }
    let mut findings = vec![Finding::Well(format!("connected to {name}"))];
    let limits = server.limits();
    if !limits.is_empty() {
        findings.push(Finding::Well(format!("its limits, unless it is configured otherwise: {}", limits.join("; "))));
    }
    if server.may_stop_delivering() {
        findings.push(Finding::Note {
            what: "this version can stop delivering once each consumer of a queue has held a message for longer than \
                   consumer_timeout (rabbitmq-server#17317)"
                .to_owned(),
            fix: "upgrade; until then leave consumer_timeout at its 30 minutes, below which a worker stays, and \
                  restart the workers if requests wait that none of them takes"
                .to_owned(),
        });
    }
    findings
}

/// A queue that stands with another setting: only a policy changes what it does.
fn differs(differing: &Differing, names: &Names) -> Finding {
    let Differing { queue, argument } = differing;
    let fix = match argument.as_str() {
        "x-delivery-limit" => format!(
            "it is used as it is; so that RabbitMQ 4 drops nothing that it returned 20 times: {}",
            names.policy_without_limit()
        ),
        _ => "it is used as it is; a policy can set most arguments (`rabbitmqctl set_policy`), else empty and delete \
            it while no worker runs: it is declared again"
            .to_owned(),
    };
    Finding::Note { what: format!("the queue {queue} has another {argument} than it is declared with"), fix }
}
