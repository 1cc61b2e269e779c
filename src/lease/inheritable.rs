//! A lease that the programs started by a process inherit.

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
    /// Makes every program that this process starts hold the lease too, as long as the returned value lives. For a
    /// daemon that starts engines: the model stays as long as the engine runs, even if the daemon ends first, however
    /// it ends.
    ///
    /// A lease is an open descriptor, which the kernel closes when it executes a program; it leaves the descriptor of
    /// the returned value open. That has no other effect, and a program need not know about it. The lease ends when the
    /// daemon has dropped the returned value and all clones of the lease, and every other process with the descriptor
    /// has closed it or has ended.
    ///
    /// **Every** program that any thread of this process starts in the meantime inherits the lease, unless that thread
    /// closes the descriptors it does not know; such a program then keeps the model too, until it ends. So call this
    /// right before starting the engine, and right after that drop the returned value, or take the lease out with
    /// [`into_lease`](InheritableLease::into_lease). A daemon that starts other programs from other threads must start
    /// them and the engines under one lock of its own. An engine that closes all descriptors when it starts, as some
    /// daemons do, gives the lease up.
    ///
    /// Fails if the process has no descriptor left. Available only on Unix.
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
    /// drop(lease); // programs started from now on do not inherit it; the engine keeps the model
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
    /// The lease of this process.
    pub fn lease(&self) -> &Lease {
        &self.lease
    }

    /// The lease, which programs started from now on do not inherit. Programs that have inherited it keep it.
    pub fn into_lease(self) -> Lease {
        self.lease
    }
}

impl AsFd for InheritableLease {
    /// The inheritable descriptor, for callers that pass descriptors on themselves.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}
