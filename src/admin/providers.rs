//! `DELETE /admin/providers/{id}` and `.../contexts/{context}`: removing what a provider announced;
//! `PUT` and `DELETE /admin/providers/{id}/hidden`: hiding it and showing it again.
//!
//! A peer ID is taken in either form, a context ID as multibase text. Gone from answers when the
//! call returns. Where there was nothing to remove the answer is 404: most likely a typo. If the disk
//! refuses the removal the answer is an error, though it holds: the store writes it later.

use actix_web::http::header;
use actix_web::{HttpResponse, web};

use super::AdminState;
use super::error::AdminError;
use super::wire::RemovedGroups;
use crate::store::{ContextId, ProviderChange, StoreError, Visibility};
use crate::types::PeerId;

/// Answers `DELETE /admin/providers/{id}`.
pub(super) async fn remove_provider(
    state: web::Data<AdminState>,
    path: web::Path<String>,
) -> HttpResponse {
    answer(remove(&state, &path.into_inner(), None).await)
}

/// Answers `DELETE /admin/providers/{id}/contexts/{context}`.
pub(super) async fn remove_context(
    state: web::Data<AdminState>,
    path: web::Path<(String, String)>,
) -> HttpResponse {
    let (provider, context) = path.into_inner();
    answer(remove(&state, &provider, Some(&context)).await)
}

/// Answers `PUT /admin/providers/{id}/hidden`.
pub(super) async fn hide_provider(
    state: web::Data<AdminState>,
    path: web::Path<String>,
) -> HttpResponse {
    change_visibility(&state, &path, Visibility::Hidden).await
}

/// Answers `DELETE /admin/providers/{id}/hidden`.
pub(super) async fn show_provider(
    state: web::Data<AdminState>,
    path: web::Path<String>,
) -> HttpResponse {
    change_visibility(&state, &path, Visibility::Shown).await
}

async fn change_visibility(state: &AdminState, text: &str, to: Visibility) -> HttpResponse {
    let change = async {
        let provider = parse_provider(text)?;
        let change = ProviderChange::Visibility(to);
        state.store.change_provider(&provider, change, state.clock.now_ms()).await?;
        tracing::info!(%provider, ?to, "provider hidden or shown");
        Ok::<_, AdminError>(())
    };
    match change.await {
        Ok(()) => {
            HttpResponse::NoContent().insert_header((header::CACHE_CONTROL, "no-store")).finish()
        }
        Err(error) => error.into_response(),
    }
}

fn parse_provider(text: &str) -> Result<PeerId, AdminError> {
    PeerId::parse(text).map_err(|source| AdminError::Provider { text: text.to_owned(), source })
}

async fn remove(
    state: &AdminState,
    provider_text: &str,
    context_text: Option<&str>,
) -> Result<RemovedGroups, AdminError> {
    let provider = parse_provider(provider_text)?;
    let context = context_text.map(|text| {
        ContextId::from_text(text)
            .map_err(|source| AdminError::Context { text: text.to_owned(), source })
    });
    let context = context.transpose()?;
    let removed = state.store.remove(&provider, context.as_ref(), state.clock.now_ms()).await;
    let removed = removed.map_err(|error| not_written(error, &provider, context.as_ref()))?;
    let removed = RemovedGroups {
        provider: provider.as_str().to_owned(),
        context: context.as_ref().map(ContextId::to_text),
        groups: removed.groups,
    };
    if removed.groups == 0 {
        return Err(AdminError::NothingOf { what: whose(&provider, context.as_ref()) });
    }
    let context = removed.context.as_deref();
    tracing::info!(%provider, context, groups = removed.groups, "removed");
    Ok(removed)
}

/// A removal that the disk refused holds in memory all the same, and is written later.
fn not_written(error: StoreError, provider: &PeerId, context: Option<&ContextId>) -> AdminError {
    match error {
        StoreError::NoSpace { .. } | StoreError::Io { .. } => {
            AdminError::Unwritten { what: whose(provider, context), source: error }
        }
        StoreError::Full { .. }
        | StoreError::Overloaded
        | StoreError::TimedOut
        | StoreError::Unavailable { .. } => error.into(),
    }
}

fn whose(provider: &PeerId, context: Option<&ContextId>) -> String {
    match context {
        Some(context) => format!("context {} of provider {provider}", context.to_text()),
        None => format!("provider {provider}"),
    }
}

fn answer(removed: Result<RemovedGroups, AdminError>) -> HttpResponse {
    match removed {
        Ok(removed) => {
            HttpResponse::Ok().insert_header((header::CACHE_CONTROL, "no-store")).json(removed)
        }
        Err(error) => error.into_response(),
    }
}
