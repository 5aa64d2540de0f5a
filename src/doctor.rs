//! `doctor`: checks each dependency, and says how to mend what is wrong. Changes nothing, and uses no token up.

use std::time::Duration;

use clap::Args;

use crate::amqp::link;
use crate::amqp::topology::Declare;
use crate::config::{AccountArgs, AmqpArgs, DatabaseArgs, IntegrationArgs, KeyArgs};
use crate::store::tokens::Tokens;
use crate::store::{authorization, pool};

/// The longest wait for an answer of Teamleader.
const PATIENCE: Duration = Duration::from_secs(10);

/// What there is to check.
#[derive(Args, Debug)]
pub struct DoctorArgs {
    #[command(flatten)]
    account: AccountArgs,
    #[command(flatten)]
    database: DatabaseArgs,
    #[command(flatten)]
    amqp: AmqpArgs,
    #[command(flatten)]
    integration: IntegrationArgs,
    #[command(flatten)]
    key: KeyArgs,
}

/// One finding.
enum Finding {
    Well(String),
    Wrong { what: String, mend: String },
}

/// Whether all is well, and a line for each check.
pub async fn examine(args: &DoctorArgs) -> (bool, String) {
    let checks = [
        ("configuration", configuration(args)),
        ("PostgreSQL", database(args).await),
        ("RabbitMQ", broker(args).await),
        ("Teamleader", teamleader(args).await),
    ];
    let (mut well, mut lines) = (true, Vec::new());
    for (name, findings) in checks {
        for finding in findings {
            match finding {
                Finding::Well(what) => lines.push(format!("ok     {name}: {what}")),
                Finding::Wrong { what, mend } => {
                    well = false;
                    lines.push(format!("WRONG  {name}: {what}\n       {mend}"));
                }
            }
        }
    }
    (well, lines.join("\n"))
}

fn wrong(what: impl ToString, mend: &str) -> Finding {
    Finding::Wrong { what: what.to_string(), mend: mend.to_owned() }
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
    vec![integration, key]
}

async fn database(args: &DoctorArgs) -> Vec<Finding> {
    let pool = match args.database.url().map_err(anyhow::Error::from).and_then(|url| Ok(pool::connect(&url)?)) {
        Ok(pool) => pool,
        Err(error) => {
            return vec![wrong(error, "DATABASE_URL is like postgres://user:password@host:5432/database")];
        }
    };
    let version =
        match sqlx::query_scalar::<_, String>("select current_setting('server_version')").fetch_one(&pool).await {
            Ok(version) => version,
            Err(error) => {
                return vec![wrong(error, "is the server up, and are host, user and password in DATABASE_URL right?")];
            }
        };
    let number: i32 = version.split('.').next().and_then(|major| major.parse().ok()).unwrap_or(0);
    let mut findings = vec![if number >= 14 {
        Finding::Well(format!("version {version}"))
    } else {
        wrong(format!("version {version} is too old"), "14 or later is needed")
    }];
    match pool::check_schema(&pool).await {
        Ok(()) => findings.push(Finding::Well("the schema is up to date".to_owned())),
        Err(error) => {
            findings.push(wrong(
                error,
                "`teamleader2db migrate` does it, or `worker` by itself unless MIGRATE_ON_START=false",
            ));
            return findings;
        }
    }
    if let Ok(cipher) = args.key.cipher() {
        let tokens = Tokens::new(pool.clone(), args.account.account.clone(), cipher, None);
        if let Err(error) = tokens.check_key().await {
            findings.push(wrong(error, "without the old key the tokens are lost, and nothing else: authorize again"));
        }
    }
    findings.push(match authorization::authorization(&pool, &args.account.account).await {
        Ok(a) if a.authorized => Finding::Well(format!("the account {} is authorized", args.account.account)),
        Ok(a) => {
            let what =
                format!("the account {} is not authorized: {}", args.account.account, a.reason.unwrap_or_default());
            wrong(what, "open the worker's /sync/authorize in a browser, or the link that `authorize` prints")
        }
        Err(error) => wrong(error, "see the server's log"),
    });
    findings
}

async fn broker(args: &DoctorArgs) -> Vec<Finding> {
    let prepared = args.amqp.url().and_then(|url| Ok((url, args.amqp.names(&args.account.account)?)));
    let (url, names) = match prepared {
        Ok(prepared) => prepared,
        Err(error) => {
            return vec![wrong(error, "AMQP_URL is like amqp://user:password@host:5672/vhost")];
        }
    };
    let connection = match link::connect(&url, "teamleader2db doctor").await {
        Ok(connection) => connection,
        Err(error) => {
            return vec![wrong(error, "is the broker up, and are host, user, password and vhost in AMQP_URL right?")];
        }
    };
    let mut findings = vec![Finding::Well("connected".to_owned())];
    // First a look, which changes nothing; then, if the worker would declare, with all settings: they must be the same.
    let mut declared = names.declare(&connection, Declare::Check).await;
    if declared.is_ok() && args.amqp.amqp_declare == Declare::Create {
        declared = names.declare(&connection, Declare::Create).await;
    }
    findings.push(match declared {
        Ok(()) => Finding::Well(format!("all queues are there, {} among them", names.requests_queue())),
        Err(error) => wrong(error, "a `worker` with AMQP_DECLARE=create declares what is missing"),
    });
    // A look was all; the goodbye does not matter.
    let _ = link::within(link::REPLY_TIMEOUT, connection.close(200, "done".into())).await;
    findings
}

/// Asks the API without a token: any answer proves the way there. A token is not touched: only the worker may refresh it.
async fn teamleader(args: &DoctorArgs) -> Vec<Finding> {
    let Ok(integration) = args.integration.integration() else {
        return Vec::new();
    };
    let mut findings = Vec::new();
    for (name, base) in [("API", &integration.api_uri), ("authorization server", &integration.auth_uri)] {
        let asked = async { reqwest::Client::builder().timeout(PATIENCE).build()?.get(base).send().await };
        findings.push(match asked.await {
            Ok(_) => Finding::Well(format!("the {name} answers at {base}")),
            Err(error) if error.is_timeout() => {
                wrong(format!("the {name} does not answer at {base}"), "is it their side, or a firewall?")
            }
            Err(_) => wrong(
                format!("the {name} cannot be reached at {base}"),
                "check the network, DNS, HTTPS_PROXY and the URL",
            ),
        });
    }
    findings
}
