//! The account that servers which refuse to run as root run under.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use anyhow::{Context, Result, bail};
use nix::unistd::{Gid, Uid, User, chown, geteuid};

/// Another user of this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    pub name: String,
    pub user: u32,
    pub group: u32,
}

/// Whether this process runs as root.
pub fn is_root() -> bool {
    geteuid().is_root()
}

impl Account {
    /// For root, `postgres` or else `nobody`; none for others, who run servers as themselves.
    ///
    /// # Errors
    /// When root finds neither.
    pub fn for_servers() -> Result<Option<Self>> {
        if !is_root() {
            return Ok(None);
        }
        for name in ["postgres", "nobody"] {
            if let Some(user) = User::from_name(name).with_context(|| format!("looking for user `{name}`"))? {
                return Ok(Some(Self { name: name.into(), user: user.uid.as_raw(), group: user.gid.as_raw() }));
            }
        }
        bail!(
            "postgres refuses to run as root and there is no user `postgres` or `nobody`; create one or run as another user"
        )
    }

    /// Gives the account a file or folder of ours.
    pub fn own(&self, path: &Path) -> Result<()> {
        chown(path, Some(Uid::from_raw(self.user)), Some(Gid::from_raw(self.group)))
            .with_context(|| format!("giving {} to user `{}`", path.display(), self.name))
    }

    /// Fails if a folder above `path` keeps the account out.
    pub fn check_reach(&self, path: &Path) -> Result<()> {
        for folder in path.ancestors().skip(1).filter(|folder| folder.is_dir()) {
            let metadata = folder.metadata().with_context(|| format!("looking at {}", folder.display()))?;
            let needed = match () {
                () if metadata.uid() == self.user => 0o100,
                () if metadata.gid() == self.group => 0o010,
                () => 0o001,
            };
            if metadata.mode() & needed == 0 {
                bail!(
                    "user `{}`, which runs postgres, can't enter {}; run `chmod o+x` on it, or choose another directory with THREEPORT_HOME",
                    self.name,
                    folder.display()
                );
            }
        }
        Ok(())
    }
}
