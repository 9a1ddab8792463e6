//! A client: one connection to a daemon.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use mlos_shm::ArenaStats;

use crate::connection::Connection;
use crate::driver::Driver;
use crate::flights::Flights;
use crate::model::Model;
use crate::pending::{Finished, Pending};
use crate::{Error, Options};

/// One connection to a daemon on this machine. It may move between threads; where several work at once, each has its
/// own: operations of one client take turns, and one that waits holds up the others.
#[derive(Debug)]
pub struct Client {
    connection: Arc<Connection>,
    path: PathBuf,
    options: Options,
}

impl Client {
    /// Connects to the daemon at that socket, with the usual [`Options`].
    ///
    /// # Errors
    /// As [`Options::connect`].
    pub fn connect(path: impl AsRef<Path>) -> Result<Self, Error> {
        Options::default().connect(path)
    }

    pub(crate) fn with(path: &Path, options: Options) -> Result<Self, Error> {
        Ok(Self {
            connection: Arc::new(Connection::join(path, &options)?),
            path: path.to_owned(),
            options,
        })
    }

    /// Opens a model: `hub/name` or `hub/name@version`.
    ///
    /// # Errors
    /// The daemon's refusal: there is no such model, or it is loading.
    pub fn open(&self, model: &str) -> Result<Model, Error> {
        self.open_part(model, None)
    }

    /// Opens one component of a model that has several.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_component(&self, model: &str, component: &str) -> Result<Model, Error> {
        self.open_part(model, Some(component))
    }

    fn open_part(&self, model: &str, component: Option<&str>) -> Result<Model, Error> {
        self.connection.with(|core| core.check())?;
        let opened = self.connection.open(model, component)?;
        Model::new(Arc::clone(&self.connection), opened)
    }

    /// Waits for whichever of these requests is answered first, takes it out of the list and gives it back. `None` when
    /// the list is empty.
    ///
    /// # Errors
    /// As [`wait_first`](Self::wait_first).
    pub fn wait_any(&self, pendings: &mut Vec<Pending>) -> Result<Option<Finished>, Error> {
        let first = self.wait_first(pendings.iter())?;
        Ok(first.map(|at| pendings.remove(at).wait()))
    }

    /// Waits until any of these requests is answered, and says which: a wait for that one does not wait. `None` when
    /// there are none.
    ///
    /// # Errors
    /// [`Error::TimedOut`] when none was answered in the client's timeout: all go on.
    /// [`Error::OtherConnection`] when one is another client's.
    pub fn wait_first<'a>(
        &self,
        pendings: impl Iterator<Item = &'a Pending> + Clone,
    ) -> Result<Option<usize>, Error> {
        if !pendings.clone().all(|pending| self.owns(pending)) {
            return Err(Error::OtherConnection);
        }
        if pendings.clone().next().is_none() {
            return Ok(None);
        }
        let connection = &self.connection;
        let first = |flights: &Flights| {
            let is_done = |pending: &Pending| pending.id().is_none_or(|id| flights.has_landed(id));
            pendings.clone().position(is_done)
        };
        connection.with(|core| {
            let is_done = |flights: &Flights| first(flights).is_some();
            let waited = connection.wait(core, connection.timeout, is_done);
            match (first(&core.flights), waited) {
                (Some(at), _) => Ok(Some(at)),
                // None will be answered any more: each says so itself.
                (None, Err(Error::Gone { .. })) => Ok(Some(0)),
                (None, waited) => waited.map(|()| None),
            }
        })
    }

    fn owns(&self, pending: &Pending) -> bool {
        std::ptr::eq(pending.get().connection(), &*self.connection)
    }

    /// Connects anew, after [`Error::Gone`], to the same socket with the same options. Models and requests of before
    /// stay with the connection that ended: open and bind again.
    ///
    /// # Errors
    /// As [`Options::connect`].
    pub fn reconnect(&mut self) -> Result<(), Error> {
        self.connection = Arc::new(Connection::join(&self.path, &self.options)?);
        Ok(())
    }

    /// What an executor drives, so that requests can be awaited.
    #[must_use]
    pub fn driver(&self) -> Driver {
        Driver::new(Arc::clone(&self.connection))
    }

    /// How full the memory for tensors is.
    #[must_use]
    pub fn arena(&self) -> ArenaStats {
        self.connection.arena.stats()
    }

    /// How many requests may be in flight.
    #[must_use]
    pub fn slots(&self) -> u32 {
        self.connection.slots
    }

    /// The daemon's version, for people.
    #[must_use]
    pub fn daemon(&self) -> &str {
        &self.connection.daemon
    }

    /// The socket.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}
