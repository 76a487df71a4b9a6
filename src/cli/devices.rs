//! `anyjepa devices`: what this machine can compute on.

use anyjepa::device;
use anyjepa::error::Result;
use clap::Args;
use serde::Serialize;

use super::OutputArgs;
use super::output::{print, print_json, table};

/// `anyjepa devices`
#[derive(Debug, Args)]
pub struct Command {
    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Serialize)]
struct Listing {
    devices: Vec<device::Adapter>,
}

impl Command {
    pub fn run(self) -> Result<()> {
        let devices = device::list();
        if self.output.json {
            return print_json(&Listing { devices });
        }
        let mut rows = table(&["device", "name", "driver", "can"]);
        for adapter in devices {
            let mut can = Vec::new();
            if adapter.f16 {
                can.push("f16".to_owned());
            }
            if adapter.subgroups {
                can.push("subgroups".to_owned());
            }
            if adapter.max_binding_bytes > 0 {
                can.push(format!("{} MiB a binding", adapter.max_binding_bytes >> 20));
            }
            if adapter.software {
                can.push("software: right results, slowly".to_owned());
            }
            rows.add_row([adapter.device, adapter.name, adapter.driver, can.join(", ")]);
        }
        print(&rows.to_string())
    }
}
