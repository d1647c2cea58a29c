//! Responsible for the reasons to fetch a block before it is asked for. It must never know how any of them decides.

/// Why a block is fetched before it is asked for, the surest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Source {
    /// A request has come and will ask for it.
    Arrival,
    /// A chain is being read, and it follows there.
    ReadAhead,
    /// A conversation is likely to go on soon.
    Session,
}

impl Source {
    /// Every source, in the order in which they are served.
    pub const ALL: [Self; 3] = [Self::Arrival, Self::ReadAhead, Self::Session];

    /// Its name in metrics and reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Arrival => "arrival",
            Self::ReadAhead => "read_ahead",
            Self::Session => "session",
        }
    }
}

/// Something for each source.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BySource<T> {
    /// Of arrivals.
    pub arrival: T,
    /// Of reading ahead.
    pub read_ahead: T,
    /// Of sessions.
    pub session: T,
}

impl<T> BySource<T> {
    /// One of each, made.
    pub fn make(mut make: impl FnMut(Source) -> T) -> Self {
        Self {
            arrival: make(Source::Arrival),
            read_ahead: make(Source::ReadAhead),
            session: make(Source::Session),
        }
    }

    /// That of a source.
    pub const fn of(&self, source: Source) -> &T {
        match source {
            Source::Arrival => &self.arrival,
            Source::ReadAhead => &self.read_ahead,
            Source::Session => &self.session,
        }
    }

    /// That of a source, to be changed.
    pub const fn of_mut(&mut self, source: Source) -> &mut T {
        match source {
            Source::Arrival => &mut self.arrival,
            Source::ReadAhead => &mut self.read_ahead,
            Source::Session => &mut self.session,
        }
    }
}
