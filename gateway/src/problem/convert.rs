//! How the errors of the rooms below look to a caller. Kept apart from [`Problem`] so that it knows no room.

use axum::http::{HeaderValue, StatusCode, header};
use ultrakv_actors::{PutError, RequestError};
use ultrakv_cache::PutRefusal;
use ultrakv_cluster::{EntryError, EntryRefusal, OperateError, PurgeError, UnknownService};

use super::Problem;

impl From<RequestError> for Problem {
    fn from(error: RequestError) -> Self {
        let status = match error {
            RequestError::Busy => StatusCode::TOO_MANY_REQUESTS,
            RequestError::Deadline => StatusCode::GATEWAY_TIMEOUT,
            RequestError::Stopped => StatusCode::SERVICE_UNAVAILABLE,
        };
        let problem = Self::new(status, error.code(), error.to_string()).hint(error.hint());
        match error {
            RequestError::Busy | RequestError::Stopped => problem.retry_after(1),
            RequestError::Deadline => problem,
        }
    }
}

impl From<PutError> for Problem {
    fn from(error: PutError) -> Self {
        match error {
            PutError::Refused(why) => Self::from(why),
            PutError::Request(error) => Self::from(error),
        }
    }
}

impl From<PutRefusal> for Problem {
    fn from(why: PutRefusal) -> Self {
        let status = match why {
            PutRefusal::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            PutRefusal::NoRoom | PutRefusal::PinQuota => StatusCode::INSUFFICIENT_STORAGE,
            PutRefusal::Malformed => StatusCode::BAD_REQUEST,
            PutRefusal::Gone => StatusCode::CONFLICT,
            // A kind that is newer than this door; nothing was stored, and trying again may do.
            _ => StatusCode::SERVICE_UNAVAILABLE,
        };
        Self::new(status, why.code(), why.to_string()).hint(why.hint())
    }
}

impl From<EntryError> for Problem {
    fn from(error: EntryError) -> Self {
        let status = match error {
            EntryError::Request(error) => return Self::from(error),
            EntryError::OutcomeUnknown(_) | EntryError::Unavailable => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            EntryError::Refused(why) => return Self::from(why),
            EntryError::Conflict { .. } => StatusCode::PRECONDITION_FAILED,
            EntryError::DomainPurged => StatusCode::CONFLICT,
        };
        let problem = Self::new(status, error.code(), error.to_string()).hint(error.hint());
        match error {
            EntryError::Conflict {
                version: Some(version),
            } => match HeaderValue::from_str(&format!("\"{version}\"")) {
                Ok(tag) => problem.header(header::ETAG, tag),
                Err(_) => problem,
            },
            _ => problem,
        }
    }
}

impl From<EntryRefusal> for Problem {
    fn from(why: EntryRefusal) -> Self {
        let status = match why {
            EntryRefusal::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            // A kind that is newer than this door is taken for the other reason there can be: no room.
            _ => StatusCode::INSUFFICIENT_STORAGE,
        };
        Self::new(status, why.code(), why.to_string()).hint(why.hint())
    }
}

impl From<UnknownService> for Problem {
    fn from(error: UnknownService) -> Self {
        // The caller was admitted under this name, so the settings have changed under it.
        Self::new(StatusCode::FORBIDDEN, error.code(), error.to_string()).hint(error.hint())
    }
}

impl From<PurgeError> for Problem {
    fn from(error: PurgeError) -> Self {
        let status = match &error {
            PurgeError::Unknown(unknown) => return Self::from(unknown.clone()),
            PurgeError::Unconfirmed { .. } => StatusCode::GATEWAY_TIMEOUT,
            PurgeError::Unordered(_) => StatusCode::SERVICE_UNAVAILABLE,
            PurgeError::Stopped(cause) => Self::from(*cause).status(),
        };
        Self::new(status, error.code(), error.to_string()).hint(error.hint())
    }
}

impl From<OperateError> for Problem {
    fn from(error: OperateError) -> Self {
        let status = match &error {
            OperateError::BadSeed { .. } => StatusCode::BAD_REQUEST,
            OperateError::UnknownNode(_) | OperateError::UnknownJob(_) => StatusCode::NOT_FOUND,
            OperateError::NoCluster
            | OperateError::LastMember(_)
            | OperateError::JobRunning(_)
            | OperateError::JobOver { .. }
            | OperateError::WrongState { .. }
            | OperateError::Member { .. }
            | OperateError::Refused(_) => StatusCode::CONFLICT,
            OperateError::NoSeed { .. } | OperateError::NoQuorum => StatusCode::SERVICE_UNAVAILABLE,
            OperateError::Request(cause) => Self::from(*cause).status(),
        };
        let problem = Self::new(status, error.code(), error.to_string()).hint(error.hint());
        match status {
            StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS => {
                problem.retry_after(1)
            }
            _ => problem,
        }
    }
}

#[cfg(test)]
mod tests {
    use ultrakv_cluster::NodeId;

    use super::*;

    #[test]
    fn operators_are_told_whether_to_ask_again() {
        let told = |error: OperateError| {
            let problem = Problem::from(error);
            (problem.status().as_u16(), problem.code())
        };
        assert_eq!(told(OperateError::NoCluster), (409, "no_cluster"));
        assert_eq!(told(OperateError::NoQuorum), (503, "no_quorum"));
        assert_eq!(
            told(OperateError::UnknownNode(NodeId::default())),
            (404, "unknown_member")
        );
        assert_eq!(
            told(OperateError::Request(RequestError::Deadline)),
            (504, "deadline")
        );
        assert_eq!(
            told(OperateError::Request(RequestError::Busy)),
            (429, "busy")
        );
        let late = Problem::from(OperateError::Request(RequestError::Deadline)).body(None);
        assert!(late.hint.contains("cluster jobs"), "{}", late.hint);
    }
}
