//! A lease that the programs inherit which a process starts.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use super::Lease;
use crate::error::Result;
use crate::layout;

/// A lease that child processes inherit; see [`Lease::into_inheritable`].
#[must_use = "no program that is started after an InheritableLease was dropped inherits the lease"]
#[derive(Debug)]
pub struct InheritableLease {
    lease: Lease,
    descriptor: OwnedFd,
}

impl Lease {
    /// The lease, held by every program too that this process starts as long as the returned value lives. For a daemon that
    /// starts engines: the model stays as long as the engine runs, also when the daemon ends first, however it does.
    ///
    /// The lease is an open descriptor, which is closed when a program is executed; that of the returned value is not. It
    /// has no other effect, and a program need not know of it. The lease ends when the last process that has such a descriptor
    /// has closed it or has ended, and the daemon has dropped the returned value and all clones of the lease.
    ///
    /// **Every** program inherits it that any thread of this process starts meanwhile, unless that thread closes the
    /// descriptors it does not know of; such a program then keeps the model as well, until it ends. So make it right before
    /// the engine is started, and drop it, or take the lease out with [`into_lease`](InheritableLease::into_lease), right
    /// after; a daemon that starts other programs at the same time starts engines under a lock of its own. An engine that
    /// closes all descriptors at its start, as some daemons do, gives the lease up.
    ///
    /// Fails if the process has no descriptor left. On Unix alone.
    ///
    /// ```
    /// use std::process::Command;
    /// # let (_dir, catalog, _file) = catalog_core::testing::example();
    /// let lease = catalog.lease("llama3")?.into_inheritable()?;
    /// let path = lease.lease().local_path();
    /// # let mut command = Command::new("sleep"); command.arg("0.01");
    /// # let _ = stringify! {
    /// let mut command = Command::new("llama-server");
    /// # };
    /// let mut engine = command.env("CATALOG_MODEL", path).spawn()?;
    /// drop(lease); // what is started from now on has no part in it; the engine keeps the model
    /// engine.wait()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn into_inheritable(self) -> Result<InheritableLease> {
        let held = &self.held;
        let descriptor = held.lock.inheritable().map_err(|e| {
            let name = held.record.entry.digest.as_ref().map(layout::blob).unwrap_or_default();
            held.store.root.fail("copy the descriptor of", &name, e)
        })?;
        Ok(InheritableLease { lease: self, descriptor })
    }
}

impl InheritableLease {
    /// The lease, as this process holds it.
    pub fn lease(&self) -> &Lease {
        &self.lease
    }

    /// The lease, which no program inherits that is started from now on. Programs that have inherited it keep it.
    pub fn into_lease(self) -> Lease {
        self.lease
    }
}

impl AsFd for InheritableLease {
    /// The descriptor that is inherited, for those who pass descriptors on themselves.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}
