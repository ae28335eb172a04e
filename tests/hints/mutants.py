"""The rules of the cache, each taken away: the simulation must find a read that is staler than the bound without it."""

from collections.abc import Callable
from math import inf
from typing import Any

import pytest

from atmost.hints.core import CacheCore
from atmost.hints.knowledge import Changes, HintGap, InvalidatorLife, InvalidatorLives, MissReason

Mutate = Callable[[pytest.MonkeyPatch], None]


def no_fill_token(patch):
    """A fill is kept whatever has happened since it began."""
    keep = CacheCore.keep

    def mutant(self, fill, *rest):
        fill._refused, fill.born = None, self.changes.epoch
        keep(self, fill, *rest)

    patch.setattr(CacheCore, "keep", mutant)


def fill_checks_the_key_only(patch):
    """A fill is refused for hints of its key, and kept in spite of tags, prefixes, gaps and new sessions."""
    keep = CacheCore.keep

    def mutant(self, fill, *rest):
        fill.born = self.changes.epoch
        keep(self, fill, *rest)

    patch.setattr(CacheCore, "keep", mutant)


def no_numbers_in_marks(patch):
    """A mark only says that somebody lives: the last hint of a shard can be lost without a trace."""
    mark = InvalidatorLives.mark

    def mutant(self, told, session, now, transit):
        life = self._lives.get(told.life)
        if life is not None:
            told.keys, told.tags, told.prefixes = [0] * life.shards, [0] * life.shards, 0
        mark(self, told, session, now, transit)

    patch.setattr(InvalidatorLives, "mark", mutant)


def no_gaps(patch):
    """Missing numbers mean nothing."""

    def mutant(self, sequence, number, now, grace, epoch):
        self.numbers[sequence] = max(self.numbers[sequence], number)

    patch.setattr(InvalidatorLife, "reach", mutant)


def tolerated_misses(patch):
    """As with a tolerance for a few: a gap of up to three hints is overlooked."""
    give_up = InvalidatorLife.give_up
    patch.setattr(
        InvalidatorLife, "give_up", lambda self, now: [gap for gap in give_up(self, now) if gap.last - gap.first >= 3]
    )


def only_key_gaps(patch):
    """Lost tag hints and prefix hints are overlooked."""
    give_up = InvalidatorLife.give_up
    patch.setattr(
        InvalidatorLife, "give_up", lambda self, now: [gap for gap in give_up(self, now) if gap.sequence < self.shards]
    )


def prefix_gap_is_of_one_shard(patch):
    """A lost prefix hint makes one shard stale, not all."""
    patch.setattr(Changes, "suspect_all", lambda self, *rest: self.suspect_keys([0], *rest))


def no_blindness(patch):
    """Silence is taken for peace."""
    tick = InvalidatorLives.tick

    def mutant(self, now):
        for life in self._lives.values():
            life.as_of = max(life.as_of, now) if not life.gaps else life.as_of
        tick(self, now)

    patch.setattr(InvalidatorLives, "tick", mutant)


def whole_grace_after_silence(patch):
    """A gap found after a silence waits for a grace of its own."""
    reach = InvalidatorLife.reach

    def mutant(self, sequence, number, now, grace, epoch):
        gap = reach(self, sequence, number, now, grace, epoch)
        if gap is not None:
            gap.due = now + grace
        return gap

    patch.setattr(InvalidatorLife, "reach", mutant)


def marks_dated_by_arrival(patch):
    """A mark that waited in a queue passes for news."""
    heard = InvalidatorLife.heard

    def mutant(self, mark, session, now):
        heard(self, mark, session, now)
        self.as_of = now

    patch.setattr(InvalidatorLife, "heard", mutant)


def no_session_rule(patch):
    """A new life is taken up as if nothing had been missed of it."""
    suspect = Changes._suspect

    def mutant(self, those, epoch, reason, since):
        if reason is not MissReason.NEW_SESSION:
            suspect(self, those, epoch, reason, since)

    patch.setattr(Changes, "_suspect", mutant)


def first_mark_passes_for_news(patch):
    """The first mark of a life is dated by its arrival: only the shards are suspect that it shows hints of."""
    meet = InvalidatorLives._meet
    patch.setattr(InvalidatorLives, "_meet", lambda self, mark, session, now, _: meet(self, mark, session, now, 0.0))


def restart_forgives(patch):
    """A life that a restart has replaced is dropped with whatever it said last."""
    patch.setattr(InvalidatorLives, "_end", lambda self, key, reason, now: self._lives.pop(key))


def judged_once(patch):
    """Entries that were judged fresh are not judged again when a gap is given up."""

    def mutant(self, those, epoch, reason, now):
        for suspicion in those:
            suspicion.suspect(epoch, reason, now, self._soft)

    patch.setattr(Changes, "_suspect", mutant)


def age_from_the_end_of_the_load(patch):
    """An entry is trusted for its age since it was cached, not since its load began."""
    keep = CacheCore.keep

    def mutant(self, fill, value, ttl, tags, digest, now):
        fill.started = now
        keep(self, fill, value, ttl, tags, digest, now)

    patch.setattr(CacheCore, "keep", mutant)


def doubt_by_the_gaps_end(patch):
    """What was loaded before a gap was noticed is as good as what was loaded after it."""
    init = HintGap.__init__

    def mutant(self, sequence, first, last, due, epoch):
        init(self, sequence, first, last, due, epoch - 3)

    patch.setattr(HintGap, "__init__", mutant)


def late_hint_of_a_gap_is_dropped(patch):
    """A hint that comes within the grace closes its gap, and is not applied."""
    take = InvalidatorLife.take_number

    def mutant(self, sequence, number):
        late = number <= self.numbers[sequence]
        return take(self, sequence, number) and not late

    patch.setattr(InvalidatorLife, "take_number", mutant)


def trusted_for_ever(patch):
    """In doubt everything is served."""
    see = InvalidatorLives._book_blindness

    def mutant(self, blind, now):
        self.trusted_age = inf
        see(self, blind, now)

    patch.setattr(InvalidatorLives, "_book_blindness", mutant)


def softness_from_the_finding(patch):
    """What is found out late may be served for a whole softness from then on."""
    give_up = InvalidatorLife.give_up

    def mutant(self, now):
        gaps = give_up(self, now)
        for gap in gaps:
            gap.due = now
        return gaps

    patch.setattr(InvalidatorLife, "give_up", mutant)


SOFT_MUTANTS: list[Mutate] = [softness_from_the_finding]
"""Those that only the policy "soft" can show."""
MUTANTS: list[Mutate] = [
    no_fill_token,
    fill_checks_the_key_only,
    no_numbers_in_marks,
    no_gaps,
    tolerated_misses,
    only_key_gaps,
    prefix_gap_is_of_one_shard,
    no_blindness,
    whole_grace_after_silence,
    marks_dated_by_arrival,
    no_session_rule,
    first_mark_passes_for_news,
    restart_forgives,
    judged_once,
    age_from_the_end_of_the_load,
    doubt_by_the_gaps_end,
    late_hint_of_a_gap_is_dropped,
    trusted_for_ever,
]


def broken(mutate: Mutate, run: Callable[[], Any]) -> Any:
    """What `run` says while a rule is broken."""
    with pytest.MonkeyPatch.context() as patch:
        mutate(patch)
        return run()
