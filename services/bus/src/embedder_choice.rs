//! Decides which embedder gets a query, when another one gets it as well, and which ones get none.
//!
//! A query for a vector is idempotent, so it may be sent to several embedders. The rules:
//!
//! - The first try goes to the embedder that will probably answer first: the shortest usual time,
//!   multiplied by the queries in progress there. An embedder of this process is preferred.
//! - A try without an answer after three times the usual time is *hedged*: another
//!   embedder gets the query as well. Hedges have a budget, a share of all queries, so that they do
//!   not double an overload. A hedge away from an embedder that has answered nothing for so long is
//!   free, because that embedder does not work on the query.
//! - An embedder that answers nothing for `eject_after` is *ejected*. While it answers roll calls, a
//!   copy of a query is sent there from time to time. Its answer ends the ejection.
//! - An embedder that refuses queries is avoided for a short time, which grows with each refusal.
//!
//! Everything here is synchronous, and the time is an argument.

mod health;
mod latency;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

pub(crate) use health::HedgeLimits;
use health::{Ejection, EmbedderHealth, HEDGE_FACTOR, MAX_ROLL_CALL_AGE, Requirement, hedge_delay};

use crate::embedder_instance::EmbedderInstance;

/// Tries of one query that may be in progress at once, without those at silent embedders and probes.
const MAX_PARALLEL_TRIES: usize = 2;

/// Tries of one query, without those at silent embedders and probes.
const MAX_TRIES: usize = 4;

/// Tries of one query in all.
pub(crate) const MAX_ALL_TRIES: usize = 32;

/// Hedges that may be sent at once after a quiet time.
const HEDGE_BURST: f64 = 10.0;

/// Time after which a query that may not be hedged now is considered again.
const RECHECK_INTERVAL: Duration = Duration::from_millis(50);

/// An embedder that answered no roll call for so long is forgotten.
const FORGET_AFTER: Duration = Duration::from_secs(300);

/// Interval of the probes of an ejected embedder; it doubles up to the maximum.
const MIN_PROBE_INTERVAL: Duration = Duration::from_secs(1);
const MAX_PROBE_INTERVAL: Duration = Duration::from_secs(10);

/// A local embedder is preferred unless it needs this many times longer than another one.
const LOCAL_PREFERENCE: f64 = 4.0;

/// One try of a query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct QueryTry {
    pub id: u64,
    /// `None` for any embedder: NATS chooses.
    pub instance: Option<EmbedderInstance>,
    pub sent_at: Instant,
    /// Whether the try only tests an ejected embedder. The query does not rely on it.
    pub is_probe: bool,
    pub is_pending: bool,
}

/// How a try ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TryOutcome {
    /// With a vector.
    Answered,
    /// With an error that says nothing about the embedder's health.
    Heard,
    /// With an error that other embedders may not have: overloaded, or the devices failed.
    Refused,
    /// The queue of the embedder was full, so it did not get the query. That does not show that it works.
    QueueFull,
    /// The embedder is not there any more.
    Gone,
    /// No answer arrived: within the time limit of the query, or before the connection failed.
    Silent,
}

/// What to do about a query that was not answered yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum HedgeStep {
    /// Sends this try as well; `is_silent` if the embedder of the previous one answers nothing at all.
    Ask { next: QueryTry, is_silent: bool },
    /// Asks again after this time.
    Wait(Duration),
}

/// A change that operators should notice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum HealthChange {
    Found(EmbedderInstance),
    Ejected(EmbedderInstance),
    Returned(EmbedderInstance),
    /// An ejected embedder was forgotten.
    Left(EmbedderInstance),
}

/// The embedders of one model, as this process sees them.
pub(crate) struct EmbedderChoice {
    limits: HedgeLimits,
    embedders: BTreeMap<EmbedderInstance, EmbedderHealth>,
    /// Hedges that may be sent now.
    budget: f64,
    next_id: u64,
    changes: Vec<HealthChange>,
}

impl EmbedderChoice {
    pub fn new(limits: HedgeLimits) -> Self {
        Self {
            limits,
            embedders: BTreeMap::new(),
            budget: HEDGE_BURST,
            next_id: 0,
            changes: Vec::new(),
        }
    }

    /// Records that an embedder answered a roll call.
    pub fn record_roll_call(&mut self, instance: &EmbedderInstance, now: Instant) {
        if let Some(embedder) = self.embedders.get_mut(instance) {
            embedder.seen_at = now;
            return;
        }
        let embedder = EmbedderHealth::new(false, now);
        self.embedders.insert(instance.clone(), embedder);
        self.changes.push(HealthChange::Found(instance.clone()));
    }

    /// Sets which embedder runs in this process.
    pub fn set_local(&mut self, local: Option<&EmbedderInstance>, now: Instant) {
        for (instance, embedder) in &mut self.embedders {
            embedder.is_local = local == Some(instance);
        }
        if let Some(local) = local.filter(|local| !self.embedders.contains_key(*local)) {
            self.embedders
                .insert(local.clone(), EmbedderHealth::new(true, now));
        }
    }

    /// Chooses the embedder for a new query, and sometimes an ejected one to test with a copy of it.
    pub fn start_query(
        &mut self,
        may_ask_remote: bool,
        now: Instant,
    ) -> (QueryTry, Option<QueryTry>) {
        self.eject_silent(now);
        let earned = f64::from(self.limits.budget_percent) / 100.0;
        self.budget = (self.budget + earned).min(HEDGE_BURST);
        let requirements = [
            Requirement::Ready,
            Requirement::NotEjected,
            Requirement::Known,
        ];
        let instance = requirements
            .into_iter()
            .find_map(|requirement| self.select(requirement, &[], may_ask_remote, now));
        let first = self.begin_try(instance, false, now);
        let probe = self.select_probe(may_ask_remote, now);
        let is_other = |probe: &EmbedderInstance| first.instance.as_ref() != Some(probe);
        let probe = probe.filter(is_other);
        let probe = probe.map(|instance| self.begin_try(Some(instance), true, now));
        (first, probe)
    }

    /// Decides whether another embedder gets a query with these tries, none of which was answered.
    pub fn hedge_query(
        &mut self,
        tries: &[QueryTry],
        may_ask_remote: bool,
        now: Instant,
    ) -> HedgeStep {
        self.eject_silent(now);
        let Some(last) = tries.iter().rfind(|last| !last.is_probe) else {
            return HedgeStep::Wait(RECHECK_INTERVAL);
        };
        let delay = self.delay_of(last, now);
        let waited = now.saturating_duration_since(last.sent_at);
        if waited < delay {
            return HedgeStep::Wait(delay - waited);
        }
        let is_working =
            |other: &&QueryTry| other.is_pending && !other.is_probe && !self.is_silent(other, now);
        if tries.iter().filter(is_working).count() >= MAX_PARALLEL_TRIES
            || self.has_all_tries(tries, now)
        {
            return HedgeStep::Wait(RECHECK_INTERVAL);
        }
        let is_silent = self.is_silent(last, now);
        let ready = self.select(Requirement::Ready, tries, may_ask_remote, now);
        let is_free = is_silent && ready.is_some();
        // If all embedders have a problem, each one may be the first to recover.
        let target = ready.or_else(|| match is_silent {
            true => self.select(Requirement::Known, tries, may_ask_remote, now),
            false => None,
        });
        if target.is_none() && !(may_ask_remote && self.nats_may_choose(tries, last, now)) {
            return HedgeStep::Wait(RECHECK_INTERVAL);
        }
        if !is_free {
            if self.budget < 1.0 {
                return HedgeStep::Wait(RECHECK_INTERVAL);
            }
            self.budget -= 1.0;
        }
        let next = self.begin_try(target, false, now);
        HedgeStep::Ask { next, is_silent }
    }

    /// Chooses an embedder for a query that others refused or were not there for. Returns `None` if
    /// all have had it.
    pub fn retry_query(
        &mut self,
        tries: &[QueryTry],
        may_ask_remote: bool,
        now: Instant,
    ) -> Option<QueryTry> {
        self.eject_silent(now);
        if self.has_all_tries(tries, now) {
            return None;
        }
        let instance = [Requirement::Ready, Requirement::NotEjected]
            .into_iter()
            .find_map(|requirement| self.select(requirement, tries, may_ask_remote, now));
        let asked_any = tries.iter().any(|other| other.instance.is_none());
        if instance.is_none() && (asked_any || !may_ask_remote) {
            return None;
        }
        Some(self.begin_try(instance, false, now))
    }

    /// Records the end of a try, also when its query was answered by another one before.
    pub fn finish_try(&mut self, ended: &QueryTry, outcome: TryOutcome, now: Instant) {
        let Some(instance) = &ended.instance else {
            return;
        };
        if outcome == TryOutcome::Gone {
            self.forget(instance);
            return;
        }
        let Some(embedder) = self.embedders.get_mut(instance) else {
            return;
        };
        embedder.in_flight.remove(&ended.id);
        match outcome {
            TryOutcome::Answered => {
                embedder.record_sign_of_life(now);
                if embedder.record_answer(ended.sent_at, now) {
                    self.changes.push(HealthChange::Returned(instance.clone()));
                }
            }
            TryOutcome::Heard => embedder.record_sign_of_life(now),
            TryOutcome::Refused => {
                embedder.record_sign_of_life(now);
                embedder.record_refusal(now);
            }
            TryOutcome::QueueFull => embedder.record_refusal(now),
            TryOutcome::Gone | TryOutcome::Silent => {}
        }
        self.eject_silent(now);
    }

    /// Returns whether an embedder is known that answers roll calls.
    pub fn knows_responsive(&self, now: Instant) -> bool {
        let mut embedders = self.embedders.values();
        embedders.any(|embedder| embedder.answers_roll_calls(now))
    }

    /// Forgets an embedder that has ended.
    pub fn forget(&mut self, instance: &EmbedderInstance) {
        if let Some(embedder) = self.embedders.remove(instance)
            && embedder.ejection.is_some()
        {
            self.changes.push(HealthChange::Left(instance.clone()));
        }
    }

    /// Forgets embedders that have answered no roll call for a long time, and returns those that
    /// missed the last ones.
    pub fn list_missing(&mut self, now: Instant) -> Vec<EmbedderInstance> {
        let unseen_for = |embedder: &EmbedderHealth| match embedder.is_local {
            true => Duration::ZERO,
            false => now.saturating_duration_since(embedder.seen_at),
        };
        let embedders = self.embedders.iter();
        let forgotten: Vec<_> = embedders
            .filter(|(_, embedder)| unseen_for(embedder) > FORGET_AFTER)
            .map(|(instance, _)| instance.clone())
            .collect();
        for instance in &forgotten {
            self.forget(instance);
        }
        let embedders = self.embedders.iter();
        embedders
            .filter(|(_, embedder)| unseen_for(embedder) > MAX_ROLL_CALL_AGE / 2)
            .map(|(instance, _)| instance.clone())
            .collect()
    }

    /// Returns the embedders that answer no roll calls, or no queries. An ejected one that has answered
    /// everything is not included: it only waits for a probe.
    pub fn list_unresponsive(&mut self, now: Instant) -> Vec<EmbedderInstance> {
        self.eject_silent(now);
        let embedders = self.embedders.iter();
        embedders
            .filter(|(_, embedder)| {
                !embedder.answers_roll_calls(now)
                    || (embedder.ejection.is_some() && embedder.waiting_since.is_some())
            })
            .map(|(instance, _)| instance.clone())
            .collect()
    }

    /// Returns the changes since the last call.
    pub fn take_changes(&mut self) -> Vec<HealthChange> {
        std::mem::take(&mut self.changes)
    }

    /// Returns the number of ejected embedders.
    pub fn count_ejected(&self) -> usize {
        let embedders = self.embedders.values();
        embedders
            .filter(|embedder| embedder.ejection.is_some())
            .count()
    }

    fn eject_silent(&mut self, now: Instant) {
        for (instance, embedder) in &mut self.embedders {
            // A slow model is no reason for an ejection.
            let usual = embedder.latency.percentile_95();
            let patience = usual.map_or(self.limits.max_delay * 2, |usual| usual * HEDGE_FACTOR);
            let limit = self.limits.eject_after.max(patience);
            if embedder.ejection.is_none() && embedder.silent_for(now) >= limit {
                embedder.ejection = Some(Ejection {
                    since: now,
                    next_probe: now + MIN_PROBE_INTERVAL,
                    probe_interval: MIN_PROBE_INTERVAL,
                });
                self.changes.push(HealthChange::Ejected(instance.clone()));
            }
        }
    }

    /// Returns the embedder that will probably answer first, of those that meet the requirement and
    /// have not had the query.
    fn select(
        &self,
        requirement: Requirement,
        tries: &[QueryTry],
        may_ask_remote: bool,
        now: Instant,
    ) -> Option<EmbedderInstance> {
        let had_it = |instance: &EmbedderInstance| {
            let mut tries = tries.iter();
            tries.any(|other| other.instance.as_ref() == Some(instance))
        };
        let candidates = || {
            self.embedders.iter().filter(|(instance, embedder)| {
                (may_ask_remote || embedder.is_local)
                    && !had_it(instance)
                    && embedder.meets(requirement, &self.limits, now)
            })
        };
        let measured = candidates().filter_map(|(_, embedder)| embedder.latency.estimate(now));
        let fastest = measured.min_by(f64::total_cmp).unwrap_or(0.0);
        let cost = |embedder: &EmbedderHealth| {
            let estimate = embedder.latency.estimate(now).unwrap_or(fastest);
            estimate * (embedder.in_flight.len() + 1) as f64
        };
        // Much slower than the others means that its device has a problem.
        let floor = self.limits.min_delay.as_secs_f64();
        let is_fast = |embedder: &EmbedderHealth| {
            let estimate = embedder.latency.estimate(now).unwrap_or(0.0);
            estimate <= floor.max(fastest * LOCAL_PREFERENCE)
        };
        if let Some((instance, _)) =
            candidates().find(|(_, embedder)| embedder.is_local && is_fast(embedder))
        {
            return Some(instance.clone());
        }
        let best = candidates().min_by(|(_, a), (_, b)| {
            let (a_key, b_key) = (a.in_flight.len(), b.in_flight.len());
            (cost(a).total_cmp(&cost(b)))
                .then(a_key.cmp(&b_key))
                .then(a.chosen_at.cmp(&b.chosen_at))
        });
        best.map(|(instance, _)| instance.clone())
    }

    /// Returns an ejected embedder that is due for a probe.
    fn select_probe(&mut self, may_ask_remote: bool, now: Instant) -> Option<EmbedderInstance> {
        let mut embedders = self.embedders.iter_mut();
        embedders.find_map(|(instance, embedder)| {
            let may_ask = (may_ask_remote || embedder.is_local) && embedder.answers_roll_calls(now);
            let ejection = embedder.ejection.as_mut().filter(|_| may_ask)?;
            // One probe at a time.
            let is_probed = embedder
                .in_flight
                .values()
                .any(|sent| *sent >= ejection.since);
            if now < ejection.next_probe || is_probed {
                return None;
            }
            ejection.next_probe = now + ejection.probe_interval;
            ejection.probe_interval = (ejection.probe_interval * 2).min(MAX_PROBE_INTERVAL);
            Some(instance.clone())
        })
    }

    fn begin_try(
        &mut self,
        instance: Option<EmbedderInstance>,
        is_probe: bool,
        now: Instant,
    ) -> QueryTry {
        let id = self.next_id;
        self.next_id += 1;
        let embedder = instance
            .as_ref()
            .and_then(|name| self.embedders.get_mut(name));
        if let Some(embedder) = embedder {
            embedder.in_flight.insert(id, now);
            embedder.waiting_since.get_or_insert(now);
            embedder.chosen_at = Some(now);
        }
        QueryTry {
            id,
            instance,
            sent_at: now,
            is_probe,
            is_pending: true,
        }
    }

    /// Returns after how long this try is hedged: a multiple of the usual time of the fastest
    /// embedder that works.
    fn delay_of(&self, current: &QueryTry, now: Instant) -> Duration {
        let own = current.instance.as_ref();
        let embedders = self.embedders.iter().filter(|(instance, embedder)| {
            own == Some(instance) || embedder.meets(Requirement::Ready, &self.limits, now)
        });
        let usual = embedders.filter_map(|(_, embedder)| embedder.latency.percentile_95());
        hedge_delay(usual.min(), &self.limits)
    }

    /// Returns whether a query goes to any embedder after its last try. NATS might choose one that has
    /// the query already. So it chooses only if no embedder is known, or once if the known ones are
    /// unresponsive: there may be one of an older version.
    fn nats_may_choose(&self, tries: &[QueryTry], last: &QueryTry, now: Instant) -> bool {
        let Some(instance) = &last.instance else {
            return true;
        };
        let responds = self
            .embedders
            .get(instance)
            .is_some_and(|embedder| embedder.meets(Requirement::NotEjected, &self.limits, now));
        !responds && tries.iter().all(|other| other.instance.is_some())
    }

    /// Returns whether the query must not be sent again. Embedders that are silent or have ended do
    /// not work on it, so their tries do not count.
    fn has_all_tries(&self, tries: &[QueryTry], now: Instant) -> bool {
        let counts = |other: &&QueryTry| !other.is_probe && !self.is_silent(other, now);
        tries.len() >= MAX_ALL_TRIES || tries.iter().filter(counts).count() >= MAX_TRIES
    }

    /// Returns whether the embedder of a try has answered nothing for longer than its usual time.
    fn is_silent(&self, current: &QueryTry, now: Instant) -> bool {
        let embedder = current.instance.as_ref();
        let embedder = embedder.map(|instance| self.embedders.get(instance));
        match embedder {
            // NATS chose the embedder of this try.
            None => false,
            // It has ended.
            Some(None) => true,
            Some(Some(embedder)) => {
                embedder.ejection.is_some() || embedder.is_silent(&self.limits, now)
            }
        }
    }
}
