//! `doctor`: checks each dependency, and says how to fix it. Changes nothing, and uses no token up.

mod account;
mod args;
mod finding;
mod postgresql;
mod queues;
mod rabbitmq;
mod schemas;
mod teamleader;

use super::outcome::Outcome;
use super::terminal::{self, one_line};
pub use args::DoctorArgs;
use finding::{Finding, wrong};

impl DoctorArgs {
    /// Prints the findings.
    pub async fn run(self) -> Outcome {
        let (well, findings) = examine(&self).await;
        terminal::print(&findings);
        if well { Outcome::Done } else { Outcome::Failed }
    }
}

/// Whether all is well, and a line for each check.
async fn examine(args: &DoctorArgs) -> (bool, String) {
    let (database, tokens, database_clock) = postgresql::examine(args).await;
    let checks = [
        ("configuration", configuration(args)),
        ("PostgreSQL", database),
        ("account", account::examine(args).await),
        ("RabbitMQ", rabbitmq::examine(args).await),
        ("Teamleader", teamleader::examine(args, tokens, &database_clock).await),
    ];
    let (mut well, mut lines) = (true, Vec::new());
    for (name, findings) in checks {
        for finding in findings {
            match finding {
                Finding::Well(what) => lines.push(format!("ok     {name}: {}", one_line(&what))),
                Finding::Note { what, fix } => {
                    lines.push(format!("note   {name}: {}\n       {}", one_line(&what), one_line(&fix)));
                }
                Finding::Wrong { what, fix } => {
                    well = false;
                    lines.push(format!("WRONG  {name}: {}\n       {}", one_line(&what), one_line(&fix)));
                }
            }
        }
    }
    (well, lines.join("\n"))
}

fn configuration(args: &DoctorArgs) -> Vec<Finding> {
    let integration = match args.integration.integration() {
        Ok(integration) => Finding::Well(format!("integration with the callback {}", integration.redirect_uri)),
        Err(error) => wrong(error, "`worker` needs the integration as it is registered in Teamleader's marketplace"),
    };
    let key = match args.key.cipher() {
        Ok(_) => Finding::Well("TOKEN_ENCRYPTION_KEY can be used".to_owned()),
        Err(error) => wrong(
            error,
            "make one with `head -c 32 /dev/urandom | base64` and keep it: without it stored tokens are lost",
        ),
    };
    let http = match args.http.listen() {
        Ok((address, _)) => Finding::Well(format!("HTTP_LISTEN is {address}")),
        Err(error) => wrong(error, "make one with `head -c 32 /dev/urandom | base64`, or listen at 127.0.0.1"),
    };
    let mut findings = vec![integration, key, http];
    match args.webhooks.url() {
        Ok(None) => {}
        Ok(Some(url)) => findings.push(Finding::Well(format!("webhooks come to {url}/webhooks/"))),
        Err(error) => findings.push(wrong(error, "give the base by which Teamleader reaches the worker, by https")),
    }
    findings
}
