//! Tests of how a question goes from endpoint to endpoint. Budgets are tested in `control`.

use parking_lot::Mutex;
use rstest::rstest;

use super::*;
use crate::resolve::testing::{FakeUpstream, Step, record};
use crate::types::{ReadyRecord, ipns_testing};

/// Endpoints that are taken in order, each once for a question.
struct InOrder {
    upstreams: Vec<Arc<FakeUpstream>>,
    keys: Mutex<Vec<Vec<u8>>>,
    rested: Mutex<Vec<(usize, Duration)>>,
    /// What is said when all are tried.
    end: Option<AskError>,
}

const WHILE: Duration = Duration::from_secs(7);

impl Endpoints for InOrder {
    fn take<'a>(
        &'a self,
        rule: RuleId,
        key: &'a [u8],
        tried: &'a [usize],
    ) -> BoxFuture<'a, Result<NextEndpoint, AskError>> {
        assert_eq!(rule, RuleId(42));
        self.keys.lock().push(key.to_vec());
        let place = (0..self.upstreams.len()).find(|place| !tried.contains(place));
        let next = match (place, &self.end) {
            (Some(place), _) => {
                Ok(NextEndpoint::Ask { place, upstream: self.upstreams[place].clone() })
            }
            (None, Some(error)) => Err(error.clone()),
            (None, None) => Ok(NextEndpoint::Discard),
        };
        std::future::ready(next).boxed()
    }

    fn back_off(&self, place: usize, retry_after: Duration) {
        self.rested.lock().push((place, retry_after));
    }
}

fn pool(upstreams: &[Arc<FakeUpstream>], end: Option<AskError>) -> (PoolUpstream, Arc<InOrder>) {
    let upstreams = upstreams.to_vec();
    let (keys, rested) = (Mutex::default(), Mutex::default());
    let endpoints = Arc::new(InOrder { upstreams, keys, rested, end });
    (PoolUpstream::new(RuleId(42), endpoints.clone()), endpoints)
}

fn spent() -> AskError {
    AskError::OverBudget { retry_after: WHILE }
}

fn failed() -> AskError {
    AskError::Failed("it broke".into())
}

fn subject() -> Subject {
    let key = "bafkreigur6gzxm3ykiol7ywou3iy3obruzs2q7boizj7oznznid34dzc3e";
    Subject::Content(ContentKey::from_cid_text(key).unwrap())
}

type Asked = Result<Vec<Arc<ReadyRecord>>, AskError>;

async fn ask(pool: &PoolUpstream) -> Vec<Asked> {
    pool.records(&subject(), Hops::default()).collect().await
}

fn found(number: u32) -> Vec<Step> {
    vec![Step::Give(vec![record(number, &[1])])]
}

/// The JSON of one record.
fn json(number: u32) -> String {
    record(number, &[1]).json().to_owned()
}

fn jsons(asked: &[Asked]) -> Vec<String> {
    let batches = asked.iter().flatten().flatten();
    batches.map(|record| record.json().to_owned()).collect()
}

#[tokio::test]
async fn none_found_is_an_answer() {
    let both = [FakeUpstream::named("a"), FakeUpstream::named("b")];
    both[0].now_do([Step::Give(vec![]), Step::Give(vec![])]);
    let (pool, endpoints) = pool(&both, Some(spent()));
    assert_eq!(ask(&pool).await.len(), 0);
    assert_eq!((both[0].asked(), both[1].asked()), (1, 0));
    let Subject::Content(key) = subject() else { panic!("it is content") };
    assert_eq!(endpoints.keys.lock()[..], [key.as_bytes().to_vec()]);
    assert_eq!(pool.id(), &TargetId::parse("42").unwrap());
}

#[tokio::test]
async fn a_deleted_route_finds_nothing_and_takes_nothing() {
    let (pool, _) = pool(&[], None);
    assert_eq!(ask(&pool).await.len(), 0);
    let name = ipns_testing::name(1);
    assert_eq!(pool.name(&name, Hops::default()).await, Ok(None));
    let record = ipns_testing::record(&name, 1, "2030-01-01T00:00:00Z");
    let put = pool.put_name(&record, Hops::default()).await;
    assert_eq!(put, Err(AskError::NotOffered));
}

#[rstest]
#[case(AskError::Backoff { retry_after: WHILE }, 1)]
#[case(AskError::OverBudget { retry_after: WHILE }, 1)]
#[case(AskError::Broken, 0)]
#[case(AskError::Busy, 0)]
#[tokio::test]
async fn an_endpoint_that_is_not_asked_or_backs_off_is_no_failure(
    #[case] error: AskError,
    #[case] rested: usize,
) {
    let three = ["a", "b", "c"].map(|name| FakeUpstream::failing(name, error.clone()));
    let last = FakeUpstream::named("d");
    last.now_do(found(4));
    let all = [&three[..], &[last]].concat();
    let (pool, endpoints) = pool(&all, Some(spent()));
    assert_eq!(jsons(&ask(&pool).await), [json(4)]);
    let expected: Vec<_> = (0..3 * rested).map(|place| (place, WHILE)).collect();
    assert_eq!(endpoints.rested.lock()[..], expected);
}

#[rstest]
#[case(failed())]
#[case(AskError::TimedOut)]
#[case(AskError::NotOffered)]
#[tokio::test]
async fn one_other_endpoint_is_asked_after_a_failure_and_then_it_is_the_answer(
    #[case] error: AskError,
) {
    let all = ["a", "b", "c"].map(|name| FakeUpstream::failing(name, error.clone()));
    let (pool_of_three, _) = pool(&all, Some(spent()));
    let asked = ask(&pool_of_three).await;
    assert!(matches!(&asked[..], [Err(said)] if *said == error), "{asked:?}");
    assert_eq!(all.each_ref().map(|fake| fake.asked()), [1, 1, 0]);

    all[1].now_do(found(2));
    assert_eq!(jsons(&ask(&pool_of_three).await), [json(2)]);

    let (pool_of_one, _) = pool(&all[..1], Some(spent()));
    let asked = ask(&pool_of_one).await;
    assert!(matches!(&asked[..], [Err(said)] if *said == error), "no other is left: {asked:?}");
}

#[tokio::test]
async fn a_loop_costs_no_second_lookup() {
    let both = ["a", "b"].map(|name| FakeUpstream::failing(name, AskError::Loop));
    let (pool, _) = pool(&both, Some(spent()));
    let asked = ask(&pool).await;
    assert!(matches!(&asked[..], [Err(AskError::Loop)]), "{asked:?}");
    let name = ipns_testing::name(1);
    assert_eq!(pool.name(&name, Hops::default()).await, Err(AskError::Loop));
    assert_eq!(both.each_ref().map(|fake| fake.asked()), [2, 0]);
}

#[tokio::test]
async fn a_spent_chain_is_reported_as_it_is() {
    let backing_off = FakeUpstream::failing("a", AskError::Backoff { retry_after: WHILE });
    let (pool, _) = pool(&[backing_off], Some(spent()));
    let asked = ask(&pool).await;
    assert!(matches!(&asked[..], [Err(said)] if *said == spent()), "{asked:?}");
}

#[tokio::test]
async fn an_error_after_the_first_records_ends_them() {
    let both = [FakeUpstream::named("a"), FakeUpstream::named("b")];
    let nothing = Step::Give(vec![]);
    let steps = [&[nothing][..], &found(1), &found(2), &[Step::Fail(AskError::TimedOut)]];
    both[0].now_do(steps.concat());
    let (pool, _) = pool(&both, Some(spent()));
    let asked = ask(&pool).await;
    assert_eq!(jsons(&asked), [json(1), json(2)]);
    assert!(matches!(asked.last(), Some(Err(AskError::TimedOut))));
    assert_eq!(both[1].asked(), 0);
}

#[tokio::test]
async fn names_go_the_same_way() {
    let name = ipns_testing::name(1);
    let record = ipns_testing::record(&name, 1, "2030-01-01T00:00:00Z");
    let all = [
        FakeUpstream::failing("a", AskError::Backoff { retry_after: WHILE }),
        FakeUpstream::failing("b", failed()),
        FakeUpstream::named("c"),
    ];
    let (good, endpoints) = pool(&all, Some(spent()));
    assert_eq!(good.name(&name, Hops::default()).await, Ok(None));
    assert_eq!(good.put_name(&record, Hops::default()).await, Ok(()));
    assert_eq!(all.each_ref().map(|fake| fake.asked()), [2, 2, 2]);
    assert_eq!(endpoints.rested.lock().len(), 2);
    assert!(endpoints.keys.lock().iter().all(|key| *key == name.as_bytes()));
    let (bad, _) = pool(&all[..2], Some(spent()));
    assert_eq!(bad.name(&name, Hops::default()).await, Err(failed()));
    assert_eq!(bad.put_name(&record, Hops::default()).await, Err(failed()));
}
