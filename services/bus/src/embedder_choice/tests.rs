//! A small simulation: the tests send queries, let embedders answer, and advance the time.

use super::*;

const MILLISECOND: Duration = Duration::from_millis(1);

const LIMITS: HedgeLimits = HedgeLimits {
    min_delay: Duration::from_millis(100),
    max_delay: Duration::from_millis(1250),
    budget_percent: 10,
    eject_after: Duration::from_secs(1),
};

fn instance(name: &str) -> EmbedderInstance {
    EmbedderInstance::new(name).unwrap()
}

struct Simulation {
    choice: EmbedderChoice,
    now: Instant,
    /// Embedders that answer roll calls.
    present: Vec<EmbedderInstance>,
}

impl Simulation {
    fn new(names: &[&str]) -> Self {
        let mut simulation = Self {
            choice: EmbedderChoice::new(LIMITS),
            now: Instant::now(),
            present: names.iter().map(|name| instance(name)).collect(),
        };
        simulation.call_roll();
        let found = simulation.choice.take_changes();
        assert_eq!(found.len(), names.len());
        simulation
    }

    fn call_roll(&mut self) {
        for name in &self.present {
            self.choice.record_roll_call(name, self.now);
        }
    }

    /// Advances the time; embedders answer a roll call each second.
    fn sleep(&mut self, milliseconds: u32) {
        for _ in 0..milliseconds {
            self.now += MILLISECOND;
        }
        self.call_roll();
    }

    fn start(&mut self) -> QueryTry {
        self.choice.start_query(true, self.now).0
    }

    fn finish(&mut self, ended: &QueryTry, outcome: TryOutcome) {
        self.choice.finish_try(ended, outcome, self.now);
    }

    fn hedge(&mut self, tries: &[QueryTry]) -> HedgeStep {
        self.choice.hedge_query(tries, true, self.now)
    }

    /// Sends queries one after another, each answered after this time.
    fn answer_queries(&mut self, count: u32, milliseconds: u32) {
        for _ in 0..count {
            let query = self.start();
            self.sleep(milliseconds);
            self.finish(&query, TryOutcome::Answered);
        }
    }

    fn unresponsive(&mut self) -> Vec<String> {
        let unresponsive = self.choice.list_unresponsive(self.now);
        unresponsive.iter().map(ToString::to_string).collect()
    }

    /// Starts queries until this embedder gets one; the others answer at once.
    fn start_at(&mut self, name: &str) -> QueryTry {
        for _ in 0..20 {
            let query = self.start();
            if query.instance == Some(instance(name)) {
                return query;
            }
            self.sleep(10);
            self.finish(&query, TryOutcome::Answered);
        }
        panic!("{name} gets no queries");
    }
}

fn asked(step: HedgeStep) -> (String, bool) {
    match step {
        HedgeStep::Ask { next, is_silent } => (
            next.instance.map_or("any".into(), |name| name.to_string()),
            is_silent,
        ),
        HedgeStep::Wait(wait) => panic!("it waits {wait:?}"),
    }
}

fn waits(step: &HedgeStep) -> bool {
    matches!(step, HedgeStep::Wait(_))
}

#[test]
fn queries_are_shared_by_embedders_of_equal_speed() {
    let mut simulation = Simulation::new(&["a", "b"]);
    simulation.answer_queries(20, 10);
    let queries: Vec<_> = (0..8).map(|_| simulation.start()).collect();
    let at_a = queries
        .iter()
        .filter(|query| query.instance == Some(instance("a")));
    assert!((3..=5).contains(&at_a.count()), "{queries:?}");
}

#[test]
fn without_known_embedders_nats_chooses() {
    let mut simulation = Simulation::new(&[]);
    let query = simulation.start();
    assert_eq!(query.instance, None);
    simulation.sleep(499);
    assert!(waits(&simulation.hedge(std::slice::from_ref(&query))));
    simulation.sleep(1);
    assert_eq!(
        asked(simulation.hedge(std::slice::from_ref(&query))).0,
        "any"
    );
    // One has answered a roll call in the meantime.
    simulation.present.push(instance("a"));
    simulation.call_roll();
    assert_eq!(asked(simulation.hedge(&[query])).0, "a");
}

#[test]
fn a_query_without_an_answer_is_hedged_once_in_time() {
    let mut simulation = Simulation::new(&["a", "b"]);
    simulation.answer_queries(40, 50);
    let first = simulation.start();
    let other = match first.instance == Some(instance("a")) {
        true => instance("b"),
        false => instance("a"),
    };
    // 95 % of the answers took at most 50 ms.
    assert_eq!(
        simulation.hedge(std::slice::from_ref(&first)),
        HedgeStep::Wait(150 * MILLISECOND)
    );
    simulation.sleep(149);
    assert!(waits(&simulation.hedge(std::slice::from_ref(&first))));
    simulation.sleep(1);
    let HedgeStep::Ask { next, is_silent } = simulation.hedge(std::slice::from_ref(&first)) else {
        panic!("it is hedged after three times the usual time");
    };
    assert_eq!((next.instance.clone(), is_silent), (Some(other), true));
    simulation.sleep(200);
    assert!(waits(&simulation.hedge(&[first.clone(), next.clone()])));
    simulation.finish(&next, TryOutcome::Answered);
    // The first answer arrives late, and is no reason for an ejection.
    simulation.finish(&first, TryOutcome::Answered);
    simulation.sleep(2000);
    assert_eq!(simulation.unresponsive(), [""; 0]);
}

#[test]
fn hedges_are_a_bounded_share_of_the_queries() {
    let mut simulation = Simulation::new(&["a", "b"]);
    simulation.answer_queries(40, 10);
    // Overload: both embedders answer something all the time, but every query takes 2 s.
    let mut hedges = 0;
    for _ in 0..400 {
        let query = simulation.start();
        simulation.sleep(2000);
        for name in ["a", "b"] {
            let embedder = simulation.choice.embedders.get_mut(&instance(name));
            embedder.unwrap().record_sign_of_life(simulation.now);
        }
        let step = simulation.hedge(std::slice::from_ref(&query));
        if let HedgeStep::Ask { next, is_silent } = step {
            assert!(!is_silent);
            hedges += 1;
            simulation.finish(&next, TryOutcome::Answered);
        }
        simulation.finish(&query, TryOutcome::Answered);
    }
    // A tenth, and the burst at the start.
    assert!((30..=51).contains(&hedges), "{hedges} hedges");
}

#[test]
fn a_frozen_embedder_gets_no_queries_and_returns() {
    let mut simulation = Simulation::new(&["a", "b"]);
    simulation.answer_queries(40, 10);
    let started: Vec<QueryTry> = (0..40).map(|_| simulation.start()).collect();
    let is_at_a = |query: &QueryTry| query.instance == Some(instance("a"));
    let (stuck, others): (Vec<_>, Vec<_>) = started.into_iter().partition(is_at_a);
    assert_eq!(stuck.len(), 20);
    for query in &others {
        simulation.finish(query, TryOutcome::Answered);
    }
    simulation.present.retain(|name| *name == instance("b"));
    simulation.sleep(101);
    // It is silent: all its queries go to the other embedder at once, although the budget is smaller.
    for query in &stuck {
        let step = simulation.hedge(std::slice::from_ref(query));
        let HedgeStep::Ask { next, is_silent } = step else {
            panic!("{step:?}");
        };
        assert_eq!((&next.instance, is_silent), (&Some(instance("b")), true));
        simulation.finish(&next, TryOutcome::Answered);
    }
    for _ in 0..30 {
        let query = simulation.start();
        assert_eq!(query.instance, Some(instance("b")));
        simulation.sleep(40);
        simulation.finish(&query, TryOutcome::Answered);
    }
    assert_eq!(simulation.unresponsive(), ["a"]);
    assert_eq!(
        simulation.choice.take_changes(),
        [HealthChange::Ejected(instance("a"))]
    );
    assert_eq!(simulation.choice.count_ejected(), 1);
    // Its queries time out. Without an answer to roll calls, it is not tested.
    for query in &stuck {
        simulation.finish(query, TryOutcome::Silent);
    }
    simulation.sleep(60_000);
    assert_eq!(simulation.choice.start_query(true, simulation.now).1, None);
    // It resumes, and a copy of a query shows that it works.
    simulation.present.push(instance("a"));
    simulation.sleep(1);
    let (first, probe) = simulation.choice.start_query(true, simulation.now);
    let probe = probe.expect("it is due");
    assert_eq!(first.instance, Some(instance("b")));
    assert_eq!(probe.instance, Some(instance("a")));
    assert_eq!(simulation.choice.start_query(true, simulation.now).1, None);
    simulation.sleep(10);
    simulation.finish(&probe, TryOutcome::Answered);
    assert_eq!(simulation.unresponsive(), [""; 0]);
    assert_eq!(
        simulation.choice.take_changes(),
        [HealthChange::Returned(instance("a"))]
    );
    simulation.start_at("a");
}

#[test]
fn an_embedder_with_a_stuck_device_is_tested_with_growing_intervals() {
    let mut simulation = Simulation::new(&["a", "b"]);
    simulation.answer_queries(40, 10);
    let started: Vec<QueryTry> = (0..4).map(|_| simulation.start()).collect();
    let is_at_a = |query: &QueryTry| query.instance == Some(instance("a"));
    let (stuck, others): (Vec<_>, Vec<_>) = started.into_iter().partition(is_at_a);
    assert_eq!(stuck.len(), 2);
    for query in &others {
        simulation.finish(query, TryOutcome::Answered);
    }
    simulation.sleep(1100);
    // It still answers roll calls.
    let mut probes = 0;
    for _ in 0..600 {
        let (first, probe) = simulation.choice.start_query(true, simulation.now);
        assert_eq!(first.instance, Some(instance("b")));
        simulation.sleep(100);
        simulation.finish(&first, TryOutcome::Answered);
        if let Some(probe) = probe {
            probes += 1;
            simulation.finish(&probe, TryOutcome::Silent);
        }
    }
    assert!((6..=10).contains(&probes), "{probes} probes in a minute");
    // The answer to one of the old queries makes the next probe due.
    simulation.finish(&stuck[0], TryOutcome::Answered);
    assert_eq!(simulation.unresponsive(), ["a"]);
    let (_, probe) = simulation.choice.start_query(true, simulation.now);
    simulation.sleep(10);
    simulation.finish(&probe.expect("it is due"), TryOutcome::Answered);
    assert_eq!(simulation.unresponsive(), [""; 0]);
}

#[test]
fn an_embedder_that_answers_late_is_listed_only_while_it_is_silent() {
    let mut simulation = Simulation::new(&["a", "b"]);
    simulation.answer_queries(40, 10);
    let late = simulation.start_at("a");
    simulation.sleep(1100);
    assert_eq!(simulation.unresponsive(), ["a"]);
    // Without another query, there is no probe.
    simulation.finish(&late, TryOutcome::Answered);
    assert_eq!(simulation.unresponsive(), [""; 0]);
    assert_eq!(simulation.choice.count_ejected(), 0);
    // The late answer counts as slow for a while, and a model that may be slow has more time.
    simulation.sleep(20_000);
    let refused = simulation.start_at("a");
    simulation.sleep(2600);
    assert_eq!(simulation.unresponsive(), ["a"]);
    simulation.finish(&refused, TryOutcome::Refused);
    assert_eq!(simulation.unresponsive(), [""; 0]);
    assert_eq!(simulation.choice.count_ejected(), 1);
}

#[test]
fn a_full_queue_is_no_sign_of_life() {
    let mut simulation = Simulation::new(&["a"]);
    simulation.answer_queries(20, 10);
    let _stuck = simulation.start();
    for _ in 0..11 {
        simulation.sleep(100);
        let refused = simulation.start();
        simulation.finish(&refused, TryOutcome::QueueFull);
    }
    assert_eq!(simulation.unresponsive(), ["a"]);
}

#[test]
fn silent_embedders_do_not_use_up_the_tries() {
    let names = ["a", "b", "c", "d", "e", "f"];
    let mut simulation = Simulation::new(&names);
    let mut tries = vec![simulation.start()];
    for _ in 1..names.len() {
        simulation.sleep(500);
        let HedgeStep::Ask { next, .. } = simulation.hedge(&tries) else {
            panic!("only {} were asked", tries.len());
        };
        assert!(next.instance.is_some());
        tries.push(next);
    }
    // Each refusal counts.
    let mut tries = vec![simulation.start()];
    loop {
        simulation.finish(&tries[tries.len() - 1], TryOutcome::Refused);
        let next = simulation.choice.retry_query(&tries, true, simulation.now);
        let Some(next) = next else { break };
        tries.push(next);
    }
    assert_eq!(tries.len(), MAX_TRIES);
}

#[test]
fn a_slow_embedder_gets_few_queries() {
    let mut simulation = Simulation::new(&["a", "b"]);
    simulation.answer_queries(20, 20);
    let mut at_slow = 0;
    for _ in 0..500 {
        let query = simulation.start();
        if query.instance == Some(instance("a")) {
            at_slow += 1;
            simulation.sleep(600);
        } else {
            simulation.sleep(20);
        }
        simulation.finish(&query, TryOutcome::Answered);
    }
    assert!((1..=25).contains(&at_slow), "{at_slow} of 500");
}

#[test]
fn an_embedder_that_ended_is_replaced_at_once() {
    let mut simulation = Simulation::new(&["a", "b"]);
    let first = simulation.start_at("a");
    simulation.finish(&first, TryOutcome::Gone);
    let tries = [first];
    let second = simulation.choice.retry_query(&tries, true, simulation.now);
    assert_eq!(second.unwrap().instance, Some(instance("b")));
    assert_eq!(simulation.choice.embedders.len(), 1);
    // An unknown embedder, for example of an older version, is asked through NATS' choice.
    simulation.choice.forget(&instance("b"));
    let last = simulation.choice.retry_query(&tries, true, simulation.now);
    assert_eq!(last.clone().unwrap().instance, None);
    let both = [tries[0].clone(), last.unwrap()];
    assert_eq!(
        simulation.choice.retry_query(&both, true, simulation.now),
        None
    );
}

#[test]
fn an_embedder_that_refuses_quickly_attracts_no_queries() {
    let mut simulation = Simulation::new(&["a", "b"]);
    simulation.answer_queries(20, 20);
    let mut refused = 0;
    for _ in 0..200 {
        let query = simulation.start();
        if query.instance == Some(instance("a")) {
            refused += 1;
            simulation.sleep(1);
            simulation.finish(&query, TryOutcome::Refused);
        } else {
            simulation.sleep(20);
            simulation.finish(&query, TryOutcome::Answered);
        }
    }
    assert!((1..=7).contains(&refused), "{refused} of 200");
    assert_eq!(simulation.unresponsive(), [""; 0]);
}

#[test]
fn the_embedder_of_this_process_is_preferred_while_it_works() {
    let mut simulation = Simulation::new(&["a", "b"]);
    let local = instance("b");
    simulation.choice.set_local(Some(&local), simulation.now);
    for _ in 0..20 {
        let query = simulation.start();
        assert_eq!(query.instance, Some(local.clone()));
        simulation.sleep(20);
        simulation.finish(&query, TryOutcome::Answered);
    }
    let stuck = simulation.start();
    simulation.sleep(120);
    let step = simulation.hedge(std::slice::from_ref(&stuck));
    assert_eq!(asked(step), ("a".to_owned(), true));
    assert_eq!(simulation.start().instance, Some(instance("a")));
    // Without NATS, no other embedder can be asked.
    assert!(waits(&simulation.choice.hedge_query(
        &[stuck],
        false,
        simulation.now
    )));
    let (only, _) = simulation.choice.start_query(false, simulation.now);
    assert_eq!(only.instance, Some(local));
}

#[test]
fn a_single_embedder_is_asked_even_if_it_is_ejected() {
    let mut simulation = Simulation::new(&["a"]);
    simulation.answer_queries(20, 10);
    let stuck = simulation.start();
    simulation.sleep(900);
    assert!(waits(&simulation.hedge(std::slice::from_ref(&stuck))));
    simulation.sleep(300);
    // NATS may know an embedder of an older version. It is asked once.
    let HedgeStep::Ask { next, is_silent } = simulation.hedge(std::slice::from_ref(&stuck)) else {
        panic!("NATS chooses");
    };
    assert_eq!((&next.instance, is_silent), (&None, true));
    assert!(waits(&simulation.hedge(&[next, stuck])));
    assert_eq!(simulation.unresponsive(), ["a"]);
    let next = simulation.start();
    assert_eq!(next.instance, Some(instance("a")));
    simulation.sleep(10);
    simulation.finish(&next, TryOutcome::Answered);
    assert_eq!(simulation.unresponsive(), [""; 0]);
}

#[test]
fn a_slow_model_is_no_reason_for_an_ejection() {
    let mut simulation = Simulation::new(&["a"]);
    // Nothing is known about its speed.
    let first = simulation.start();
    simulation.sleep(2000);
    assert_eq!(simulation.unresponsive(), [""; 0]);
    simulation.finish(&first, TryOutcome::Answered);
    simulation.answer_queries(20, 2000);
    let slowest = simulation.start();
    simulation.sleep(4000);
    assert_eq!(simulation.unresponsive(), [""; 0]);
    simulation.finish(&slowest, TryOutcome::Answered);
}

#[test]
fn embedders_that_answer_no_roll_call_are_avoided_and_forgotten() {
    let mut simulation = Simulation::new(&["a", "b"]);
    simulation.present.retain(|name| *name == instance("b"));
    simulation.sleep(1000);
    assert_eq!(simulation.choice.list_missing(simulation.now), []);
    simulation.sleep(1000);
    assert_eq!(
        simulation.choice.list_missing(simulation.now),
        [instance("a")]
    );
    simulation.sleep(2000);
    assert_eq!(simulation.unresponsive(), ["a"]);
    for _ in 0..10 {
        assert_eq!(simulation.start().instance, Some(instance("b")));
    }
    simulation.sleep(300_000);
    simulation.choice.list_missing(simulation.now);
    assert!(!simulation.choice.embedders.contains_key(&instance("a")));
}
