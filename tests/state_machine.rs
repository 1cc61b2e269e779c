//! Random operations through two handles that share nothing but the root, compared with a model. After each step, both
//! handles have what the model has, and each entry and each lease shows its bytes.
//!
//! The operations and the model are those of `fuzz/fuzz_targets/operations.rs`: see `tests/operations/`.
//! `PROPTEST_CASES` sets the number of sequences.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, clippy::indexing_slicing)]

mod operations;

use operations::{Answer, CONTENTS, Expected, IDS, LEASES, Model, Operation, PINS, Stores, Takes};
use proptest::prelude::*;
use proptest::sample::select;
use proptest_state_machine::{ReferenceStateMachine, StateMachineTest, prop_state_machine};

/// The model, and its last answer.
#[derive(Clone, Debug)]
struct Reference {
    model: Model,
    answer: Answer,
}

/// The number of the handle, and the operation.
type Step = (usize, Operation);

fn operation() -> impl Strategy<Value = Operation> {
    let id = || 0..IDS.len() as u8;
    let content = || 0..CONTENTS;
    let expected = select(&[Expected::Nothing, Expected::Right, Expected::Wrong][..]);
    let takes = select(&[Takes::Nothing, Takes::Retired, Takes::Idle][..]);
    prop_oneof![
        6 => (id(), content()).prop_map(|(id, content)| Operation::Stage { id, content }),
        3 => (id(), content(), any::<bool>(), expected)
            .prop_map(|(id, content, retired, digest)| Operation::Put { id, content, retired, digest }),
        1 => (id(), any::<bool>()).prop_map(|(id, retired)| Operation::PutBack { id, retired }),
        1 => id().prop_map(|id| Operation::Get { id }),
        1 => id().prop_map(|id| Operation::Path { id }),
        2 => (id(), any::<bool>()).prop_map(|(id, retired)| Operation::SetState { id, retired }),
        2 => id().prop_map(|id| Operation::Delete { id }),
        2 => (id(), 0..PINS).prop_map(|(id, pin)| Operation::Pin { id, pin }),
        1 => (id(), 0..PINS).prop_map(|(id, pin)| Operation::Unpin { id, pin }),
        2 => (id(), 0..LEASES).prop_map(|(id, lease)| Operation::Lease { id, lease }),
        1 => (0..LEASES).prop_map(|lease| Operation::Unlease { lease }),
        2 => (takes, any::<bool>()).prop_map(|(takes, at_once)| Operation::Plan { takes, at_once }),
        3 => Just(Operation::Execute),
        3 => Just(Operation::AgeShards),
    ]
}

impl ReferenceStateMachine for Reference {
    type State = Reference;
    type Transition = Step;

    fn init_state() -> BoxedStrategy<Reference> {
        Just(Reference { model: Model::default(), answer: Answer::Done }).boxed()
    }

    fn transitions(_: &Reference) -> BoxedStrategy<Step> {
        (0..2_usize, operation()).boxed()
    }

    fn apply(mut state: Reference, (_, operation): &Step) -> Reference {
        state.answer = state.model.apply(operation);
        state
    }
}

struct TwoHandles;

impl StateMachineTest for TwoHandles {
    type SystemUnderTest = Stores;
    type Reference = Reference;

    fn init_test(_: &Reference) -> Stores {
        Stores::new()
    }

    fn apply(mut stores: Stores, reference: &Reference, (handle, operation): Step) -> Stores {
        let answer = stores.apply(handle, &operation);
        assert_eq!(answer, reference.answer, "{operation:?} through handle {handle}");
        stores
    }

    fn check_invariants(stores: &Stores, reference: &Reference) {
        stores.check(&reference.model);
    }

    fn teardown(stores: Stores, reference: Reference) {
        stores.finish(&reference.model);
    }
}

prop_state_machine! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn two_handles_do_what_the_model_says(sequential 1..30 => TwoHandles);
}

// Random sequences rarely hit this: a tree has a file that is also staged and leased by itself.
#[test]
fn a_tree_with_a_leased_file_stays_as_long_as_the_lease() {
    let (mut model, mut stores) = (Model::default(), Stores::new());
    for operation in [
        Operation::Stage { id: 0, content: 6 },
        Operation::Stage { id: 3, content: 1 },
        Operation::Plan { takes: Takes::Idle, at_once: false },
        Operation::Lease { id: 3, lease: 0 },
        Operation::Execute,
        Operation::Unlease { lease: 0 },
        Operation::Execute,
    ] {
        assert_eq!(stores.apply(0, &operation), model.apply(&operation), "{operation:?}");
        stores.check(&model);
    }
    assert!(model.entries.is_empty());
    stores.finish(&model);
}
