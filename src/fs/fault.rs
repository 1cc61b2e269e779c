//! Injects faults for tests (feature `fault`): every step that changes something on disk can be made to fail, or to be
//! the last thing that the process does.
//!
//! A step is announced just before it happens. A process killed at step N has done all steps before N and nothing of N,
//! so killing it at every step produces every state that can be left between two steps.

#[cfg(not(feature = "fault"))]
pub(crate) use off::step;
#[cfg(feature = "fault")]
pub(crate) use on::step;
#[cfg(feature = "fault")]
pub use on::{Fault, Injection, inject};

#[cfg(not(feature = "fault"))]
mod off {
    /// Announces a step.
    #[inline(always)]
    pub(crate) fn step(_: &'static str) -> std::io::Result<()> {
        Ok(())
    }
}

#[cfg(feature = "fault")]
mod on {
    use std::io;
    use std::sync::{Mutex, MutexGuard, PoisonError};

    /// What happens at a step.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    #[non_exhaustive]
    pub enum Fault {
        /// The step does not happen; it fails with this error number.
        Errno(i32),
        /// The process is killed, as if by `kill -9`.
        Kill,
    }

    struct Plan {
        /// Number of the step, from 0; `None`: steps are only counted.
        at: Option<usize>,
        fault: Fault,
        steps: Vec<&'static str>,
    }

    static PLAN: Mutex<Option<Plan>> = Mutex::new(None);

    fn plan() -> MutexGuard<'static, Option<Plan>> {
        PLAN.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts the steps of all threads of this process until it is dropped.
    #[must_use = "when it is dropped, nothing fails any more"]
    #[derive(Debug)]
    pub struct Injection(());

    /// Makes step `at` (counted from 0) fail once. `None`: nothing fails, steps are only counted. Only one injection at
    /// a time.
    pub fn inject(at: Option<usize>, fault: Fault) -> Injection {
        *plan() = Some(Plan { at, fault, steps: Vec::new() });
        Injection(())
    }

    impl Injection {
        /// Returns the names of the steps announced so far, in order.
        #[must_use]
        pub fn steps(&self) -> Vec<&'static str> {
            plan().as_ref().map(|plan| plan.steps.clone()).unwrap_or_default()
        }
    }

    impl Drop for Injection {
        fn drop(&mut self) {
            *plan() = None;
        }
    }

    /// Announces a step.
    pub(crate) fn step(name: &'static str) -> io::Result<()> {
        let mut plan = plan();
        let Some(plan) = plan.as_mut() else { return Ok(()) };
        let number = plan.steps.len();
        plan.steps.push(name);
        if plan.at != Some(number) {
            return Ok(());
        }
        match plan.fault {
            Fault::Errno(errno) => Err(io::Error::from_raw_os_error(errno)),
            Fault::Kill => {
                #[cfg(unix)]
                let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
                std::process::abort()
            }
        }
    }
}
