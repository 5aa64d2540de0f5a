//! The broker: the way there, the login, and the queues.

use lapin::ErrorKind;

use super::args::DoctorArgs;
use super::finding::{Finding, is_untrusted, wrong};
use crate::broker::link::{self, AmqpError, Refusal};
use crate::broker::topology::{Declare, Differing, Names};

pub(super) async fn examine(args: &DoctorArgs) -> Vec<Finding> {
    let prepared = args.amqp.url().and_then(|url| Ok((url, args.amqp.names(args.copy.account())?)));
    let (url, names) = match prepared {
        Ok(prepared) => prepared,
        Err(error) => {
            return vec![wrong(error, "AMQP_URL is like amqp://user:password@host:5672/vhost")];
        }
    };
    let connection = match link::connect(&url, "teamleader2db doctor").await {
        Ok(connection) => connection,
        Err(error) => return vec![wrong(&error, mend_connection(&error))],
    };
    let mut findings = vec![Finding::Well("connected".to_owned())];
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

fn mend_connection(error: &AmqpError) -> &'static str {
    let error = match error {
        AmqpError::Broker(error) => error,
        AmqpError::Url => {
            return "fix AMQP_URL; a character of a password that is no letter or digit is written like \
            %40";
        }
        _ => return "is the broker up, and are host and port in AMQP_URL right?",
    };
    match link::refusal(error) {
        Some(Refusal::Access) => {
            "fix user and password in AMQP_URL (guest may only log in from the broker's own machine): `rabbitmqctl \
             authenticate_user …`"
        }
        Some(Refusal::Vhost) => {
            "fix the vhost at the end of AMQP_URL (%2f is /), or let the user in: `rabbitmqctl set_permissions \
             --vhost …`"
        }
        Some(Refusal::Missing | Refusal::Other) => "see the broker's log",
        None if matches!(error.kind(), ErrorKind::IOError(error) if is_untrusted(error)) => {
            "with a certificate authority of your own: SSL_CERT_FILE; and the host in AMQP_URL has to be the \
             certificate's"
        }
        None => {
            "is the broker up, and are host and port in AMQP_URL right? amqps:// needs the broker's TLS port, mostly \
             5671"
        }
    }
}
