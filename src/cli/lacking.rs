//! What a build without the feature `train` has in the place of commands that compute with burn: an error that says so.

use std::path::Path;

use anyjepa::device::Spec;
use anyjepa::error::{Error, Result};
use anyjepa::extract::FeatureDtype;

use super::frozen::{FrozenArgs, Opened};

macro_rules! lacking {
    ($($name:ident)*) => {$(
        pub mod $name {
            /// Not part of this build
            #[derive(Debug, clap::Args)]
            #[command(hide = true)]
            pub struct Command {
                #[arg(hide = true, trailing_var_arg = true, allow_hyphen_values = true)]
                ignored: Vec<std::ffi::OsString>,
            }

            impl Command {
                pub fn run(self) -> anyjepa::error::Result<()> {
                    Err(super::lacking(concat!("`anyjepa ", stringify!($name), "`")))
                }
            }
        }
    )*};
}

lacking!(bench compile demo export masks parity plan probe train verify);

impl FrozenArgs {
    /// An error: weights must be compiled, which takes the whole program.
    pub fn open(&self, _: &Path, _: FeatureDtype, _: Spec, _: usize) -> Result<Opened> {
        Err(lacking("`anyjepa extract --weights`"))
    }
}

fn lacking(what: &str) -> Error {
    Error::usage(format!("{what} is not part of this program, which was built without `train`"))
        .with_remedy("build the whole with `cargo build --release`, or give extract a --package that it compiled")
}
