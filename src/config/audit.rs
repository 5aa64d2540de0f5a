//! The always-on audit: how much it may ask, and whether it repairs.

use clap::Args;

use super::sync::Switch;
use crate::sync::slice::AuditSettings;

/// The least that is not 0: one turn may send 10 requests.
const LEAST: u32 = 10;

/// Half of what the API allows in an hour.
const MOST: u32 = 6_000;

/// The always-on audit.
#[derive(Args, Debug)]
#[command(next_help_heading = "Audit")]
pub struct AuditArgs {
    /// Requests an hour by which random records are compared with the API, out of the budget that nothing else uses: 0,
    /// or from 10 to 6000
    #[arg(long, env = "AUDIT_RATE", default_value = "0", value_parser = parse_rate, value_name = "NUMBER")]
    audit_rate: u32,
    /// Whether what AUDIT_RATE finds to differ is written again
    #[arg(long, env = "AUDIT_REPAIR", default_value = "off", value_name = "HOW")]
    audit_repair: Switch,
}

impl AuditArgs {
    /// How to audit; `None`: not at all.
    pub fn settings(&self) -> Option<AuditSettings> {
        let (rate, repair) = (self.audit_rate, self.audit_repair == Switch::On);
        (rate > 0).then_some(AuditSettings { rate, repair })
    }
}

fn parse_rate(text: &str) -> Result<u32, String> {
    let rate = text.parse::<u32>().ok().filter(|rate| *rate == 0 || (LEAST..=MOST).contains(rate));
    rate.ok_or_else(|| format!("it is 0, or a number from {LEAST} to {MOST}: one turn of the audit may take {LEAST}"))
}
