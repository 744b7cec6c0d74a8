//! Answers: JSON, or why there is none.

use axum::{
    body::Body,
    http::{HeaderValue, StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use tracing::error;

use super::types::Failure;
use crate::policies::Refusal;

/// Exactly this: clients compare it letter by letter.
const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// A request that is not served, and why.
#[derive(Debug)]
pub(super) struct Refused {
    pub(super) status: StatusCode,
    pub(super) error: String,
}

impl Refused {
    pub(super) fn new(status: StatusCode, error: impl Into<String>) -> Self {
        Self { status, error: error.into() }
    }

    /// Of a request that makes no sense.
    pub(super) fn bad(error: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, error)
    }
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        let status = match refusal {
            Refusal::Unknown(_) => StatusCode::NOT_FOUND,
            Refusal::Conflict(_) => StatusCode::CONFLICT,
            Refusal::Failed(_) => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self::new(status, refusal.to_string())
    }
}

impl From<anyhow::Error> for Refused {
    fn from(error: anyhow::Error) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, format!("{error:#}"))
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        json(self.status, &Failure { error: self.error })
    }
}

/// An answer with a document.
pub(super) fn json(status: StatusCode, document: &impl Serialize) -> Response {
    let (status, text) = match serde_json::to_vec(document) {
        Ok(text) => (status, text),
        Err(error) => {
            error!("an answer of the API cannot be written: {error}");
            (StatusCode::INTERNAL_SERVER_ERROR, b"{\"error\":\"bug: see the log\"}".to_vec())
        }
    };
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, JSON);
    response
}

/// An answer without anything in it, which says nothing of what is in it.
pub(super) fn nothing() -> Response {
    StatusCode::NO_CONTENT.into_response()
}
