//! Upstreams for tests that say what they are told to say, and count how often they are asked.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures_util::future::BoxFuture;
use futures_util::{FutureExt, StreamExt, stream};
use parking_lot::Mutex;

use crate::resolve::{AskError, AskedRecords, Upstream};
use crate::types::{
    AnswerSchema, IpnsName, IpnsRecord, ProviderRecord, ReadyRecord, TargetId, UnparsableAddrs,
};
use crate::types::{Hops, Subject};

/// What a [`FakeUpstream`] gives: batches, and perhaps an error after them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Script {
    pub(crate) batches: Vec<Vec<Arc<ReadyRecord>>>,
    pub(crate) error: Option<AskError>,
}

/// An upstream that follows a script.
pub(crate) struct FakeUpstream {
    id: TargetId,
    script: Mutex<Script>,
    ready: Mutex<Result<(), AskError>>,
    asked: AtomicU64,
}

impl FakeUpstream {
    /// One that is ready, and finds nothing.
    pub(crate) fn new(name: &str) -> Arc<Self> {
        Arc::new(Self {
            id: TargetId::parse(name).unwrap(),
            script: Mutex::default(),
            ready: Mutex::new(Ok(())),
            asked: AtomicU64::new(0),
        })
    }

    pub(crate) fn failing(name: &str, error: AskError) -> Arc<Self> {
        let fake = Self::new(name);
        fake.says(Script { batches: Vec::new(), error: Some(error) });
        fake
    }

    pub(crate) fn says(&self, script: Script) {
        *self.script.lock() = script;
    }

    pub(crate) fn stands(&self, ready: Result<(), AskError>) {
        *self.ready.lock() = ready;
    }

    /// How often it was asked.
    pub(crate) fn asked(&self) -> u64 {
        self.asked.load(Ordering::SeqCst)
    }

    fn ask(&self) -> Script {
        self.asked.fetch_add(1, Ordering::SeqCst);
        self.script.lock().clone()
    }
}

impl Upstream for FakeUpstream {
    fn id(&self) -> &TargetId {
        &self.id
    }

    fn is_ready(&self) -> Result<(), AskError> {
        self.ready.lock().clone()
    }

    fn records(&self, _: &Subject, _: Hops) -> AskedRecords {
        let Script { batches, error } = self.ask();
        let batches = batches.into_iter().map(Ok);
        stream::iter(batches.chain(error.map(Err)).collect::<Vec<_>>()).boxed()
    }

    fn name<'a>(
        &'a self,
        _: &'a IpnsName,
        _: Hops,
    ) -> BoxFuture<'a, Result<Option<IpnsRecord>, AskError>> {
        let answer = self.ask().error.map_or(Ok(None), Err);
        std::future::ready(answer).boxed()
    }

    fn put_name<'a>(&'a self, _: &'a IpnsRecord, _: Hops) -> BoxFuture<'a, Result<(), AskError>> {
        std::future::ready(self.ask().error.map_or(Ok(()), Err)).boxed()
    }
}

/// A record that is told from others by its protocol.
pub(crate) fn record(protocol: &str) -> Arc<ReadyRecord> {
    let json = format!(
        r#"{{"Schema":"peer","ID":"12D3KooWKcTtoUYcQVfURdwUZtPsanm97SdEf7DkesyxTz7kkD2z","Protocols":["{protocol}"]}}"#
    );
    let parsed = ProviderRecord::parse(&json, UnparsableAddrs::Keep).unwrap();
    Arc::new(ReadyRecord::new(parsed.record, AnswerSchema::Announced))
}
