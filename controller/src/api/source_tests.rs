use std::sync::Arc;

use lvs_crds::DirectorSpec;
use lvs_plan::Object;

use super::super::feed::Broken;
use super::*;

struct Heard {
    source: Source,
    missing: watch::Receiver<bool>,
    _updates: mpsc::Receiver<Update>,
    _contact: watch::Sender<Contact>,
}

impl Heard {
    fn new() -> Self {
        let (sink, updates) = mpsc::channel(1);
        let (says, contact) = watch::channel(Contact { role_decided: true, away: None });
        let (director_missing, missing) = watch::channel(false);
        let source = Source::new(
            "d1".to_owned(),
            Previous::default(),
            Statuses::default(),
            sink,
            contact,
            Outage::default(),
            director_missing,
        );
        Self { source, missing, _updates: updates, _contact: says }
    }

    fn hear(&mut self, kind: Kind, events: impl IntoIterator<Item = Event>) {
        for event in events {
            self.source.take(kind, event, &mut BTreeMap::new());
        }
    }

    fn list(&mut self, kind: Kind, objects: Vec<Object>) {
        let listed = |object| Event::Listed(Box::new(Observed { object, status: None }));
        self.hear(kind, [Event::ListBegins]);
        self.hear(kind, objects.into_iter().map(listed));
        self.hear(kind, [Event::ListEnds]);
    }

    fn is_missing(&self) -> bool {
        *self.missing.borrow()
    }
}

fn director() -> Object {
    Object {
        key: ObjectKey::new(Kind::Director, "", "d1"),
        uid: "u1".to_owned(),
        generation: 1,
        created: 0,
        labels: BTreeMap::new(),
        file: None,
        spec: Spec::Director(Arc::new(DirectorSpec::default())),
    }
}

#[test]
fn rules_are_served_although_the_director_cannot_be_read() {
    let mut heard = Heard::new();
    let message = "cannot list directors.lvs-operator.dev: install the CRDs".to_owned();
    heard.hear(
        Kind::Director,
        [Event::Broken(Broken { message, grade: Grade::Trouble, unauthorized: false })],
    );
    assert!(!heard.source.state().0.complete);
    heard.list(Kind::VirtualService, Vec::new());
    heard.list(Kind::RealServer, Vec::new());
    let state = heard.source.state().0;
    assert_eq!((state.complete, state.up_to_date, state.message.as_str()), (true, true, ""));
    assert!(!heard.is_missing(), "whether it is there is not known");
}

#[test]
fn our_director_is_missing_only_while_a_list_or_a_deletion_says_so() {
    let mut heard = Heard::new();
    heard.hear(Kind::Director, [Event::ListBegins]);
    assert!(!heard.is_missing(), "the list has not ended");
    heard.hear(Kind::Director, [Event::ListEnds]);
    assert!(heard.is_missing());
    let present = || Event::Present(Box::new(Observed { object: director(), status: None }));
    heard.hear(Kind::Director, [present()]);
    assert!(!heard.is_missing());
    heard.hear(Kind::Director, [Event::Deleted(director().key)]);
    assert!(heard.is_missing());
    heard.list(Kind::Director, vec![director()]);
    assert!(!heard.is_missing());
    let kinds: BTreeSet<Kind> = heard
        .source
        .changes
        .iter()
        .map(|change| match change {
            Change::Upsert(object) => object.key.kind,
            Change::Removed(key) => key.kind,
        })
        .collect();
    assert_eq!(kinds, BTreeSet::from([Kind::Director]), "and the driver hears of it");
}

#[test]
fn a_silent_server_is_one_problem_however_many_watches_notice_it_in_their_own_words() {
    let mut heard = Heard::new();
    heard.list(Kind::VirtualService, Vec::new());
    heard.list(Kind::RealServer, Vec::new());
    let breaks =
        |words: &str, grade| Event::Broken(Broken { message: words.to_owned(), grade, unauthorized: false });
    heard.hear(Kind::RealServer, [breaks("the list is refused", Grade::Trouble)]);
    heard.hear(Kind::VirtualService, [breaks("the watch is refused", Grade::Trouble)]);
    assert_eq!(heard.source.state().0.message, "the list is refused; the watch is refused");
    heard.hear(Kind::RealServer, [breaks("no answer (eof)", Grade::Silent)]);
    heard.hear(Kind::VirtualService, [breaks("no answer (refused)", Grade::Silent)]);
    let state = heard.source.state().0;
    assert!(!state.up_to_date);
    assert!(
        ["no answer (eof)", "no answer (refused)"].contains(&state.message.as_str()),
        "{}",
        state.message
    );
}
