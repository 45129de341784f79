"""What a runbook's selectors come to in one system. Pure: one table, a line per selector."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from orchestrator.model.plan import Condition
from orchestrator.model.runbook import ConditionTemplate, Selector, When
from orchestrator.model.topology import Instance
from orchestrator.planning.situation import DataMove, displaced
from orchestrator.planning.system_view import AppMove, EntryMove, SystemView

Instances = tuple[Instance, ...]


def resolve(view: SystemView, selector: Selector, subject: Instance | None) -> Instances:
    """The instances that a selector means, seen from `subject` (None: from the system as a whole), without repeats."""
    if selector in RELATIVE:
        return RELATIVE[selector](view, subject) if subject else ()
    if selector in DATA:
        return tuple(i for d in data_for(view, subject) for i in DATA[selector](view, d))
    if selector in APPS:
        return tuple(i for a in apps_for(view, subject) for i in APPS[selector](view, a))
    if selector in ENTRIES:
        return tuple(i for e in view.entries for i in ENTRIES[selector](view, e))
    return ()


def conditions(
    view: SystemView, templates: tuple[ConditionTemplate, ...], subject: Instance | None
) -> tuple[Condition, ...]:
    """Conditions for one step; one that relates to instances which do not exist here (an app's missing database) is
    left out."""
    made = []
    for template in templates:
        for instance in resolve(view, template.of, subject):
            others = tuple(i.id for i in resolve(view, template.others, instance))
            if others or template.others is Selector.NOBODY:
                made.append(Condition(fact=template.fact, instance=instance.id, others=others))
    return tuple(dict.fromkeys(made))


def holds(view: SystemView, when: tuple[When, ...], subject: Instance | None) -> bool:
    """Whether a template takes part for `subject`."""
    data = data_for(view, subject)
    return all(WHEN[word](view, data, subject) for word in when)


def data_for(view: SystemView, subject: Instance | None) -> tuple[DataMove, ...]:
    """The replicated services that an instance is, calls, or leads to."""
    if subject is None:
        return view.data
    own = tuple(d for d in view.data if d.service.id == subject.service)
    if own:
        return own
    app = next((a for a in view.apps if a.service.id == subject.service), None)
    if app:
        return (app.data,) if app.data else ()
    behind = (e.app.data for e in view.entries if e.service.id == subject.service and e.app)
    return tuple(dict.fromkeys([*view.data, *(d for d in behind if d)]))


def apps_for(view: SystemView, subject: Instance | None) -> tuple[AppMove, ...]:
    """The apps that an instance is or leads to."""
    if subject is None:
        return view.apps
    own = tuple(a for a in view.apps if a.service.id == subject.service)
    led = tuple(e.app for e in view.entries if e.service.id == subject.service and e.app)
    return own or led or view.apps


def _upstream(view: SystemView, subject: Instance) -> Instances:
    for data in view.data:
        if data.service.id == subject.service:
            return data.at({data.standing.source_of.get(subject.centre, "")})
    for app in view.apps:
        if app.service.id == subject.service and app.data:
            return app.data.at({app.upstream[app.service.instances.index(subject)]})
    return ()


def _home_source(view: SystemView, subject: Instance) -> Instances:
    return tuple(
        i
        for data in data_for(view, subject)
        if data.service.id == subject.service
        for i in data.at({f.source for f in data.home if f.target == subject.centre})
    )


def _routes_now(view: SystemView, subject: Instance) -> Instances:
    for entry in view.entries:
        if entry.service.id == subject.service and entry.app:
            return entry.app.at(_routes(entry, subject))
    return ()


def _routes(entry: EntryMove, instance: Instance) -> tuple[str, ...]:
    return entry.routes[entry.service.instances.index(instance)]


def _old_primary(_: SystemView, data: DataMove) -> Instances:
    return data.at({data.standing.primary}) if data.moves else ()


def _candidate(_: SystemView, data: DataMove) -> Instances:
    return data.at({data.new_primary}) if data.moves else ()


def _sync_standbys(view: SystemView, data: DataMove) -> Instances:
    return data.at({data.new_primary, *data.standing.sync} - {*view.lost}) if data.moves else ()


def _lost_sync(view: SystemView, data: DataMove) -> Instances:
    return () if data.moves else data.at(set(data.standing.sync) & set(view.lost))


def _cut_off(view: SystemView, data: DataMove) -> Instances:
    fed = {f.target for f in data.standing.feeds if f.source in view.lost and f.target not in view.lost}
    return () if data.moves else data.at(fed)


def _displaced(view: SystemView, data: DataMove) -> Instances:
    if not data.moves:
        return ()
    away = {*view.lost, data.standing.primary}
    return data.at(
        {
            f.target
            for f in data.home
            if f.target not in away and displaced(data.standing, data.new_primary, view.lost, f)
        }
    )


def _bystanders(view: SystemView, data: DataMove) -> Instances:
    """A copy between the old primary and the candidate must go on until the candidate holds everything."""
    chain, centre = {data.new_primary}, data.new_primary
    while (centre := data.standing.source_of.get(centre, "")) and centre not in chain:
        chain.add(centre)
    return tuple(i for i in _displaced(view, data) if i.centre not in chain)


def _rewired(_: SystemView, data: DataMove) -> Instances:
    interim = {f.target: f.source for f in data.interim}
    return data.at({f.target for f in data.home if interim[f.target] != f.source})


def _copies(_: SystemView, data: DataMove) -> Instances:
    return data.at({f.target for f in data.home})


def _standby_at_target(view: SystemView, data: DataMove) -> Instances:
    return data.at({view.target} - {data.standing.primary})


def _returning_apps(view: SystemView, app: AppMove) -> Instances:
    return app.at(set(app.final) & set(view.lost))


def _retired_apps(view: SystemView, app: AppMove) -> Instances:
    routed = {c for e in view.entries if e.app and e.app.service.id == app.service.id for r in e.routes for c in r}
    return app.at((routed | set(app.now)) - set(app.final))


def _surviving(view: SystemView, entry: EntryMove) -> Instances:
    return tuple(sorted((i for i in entry.service.instances if i.centre not in view.lost), key=lambda i: i.id))


def _moved_entries(view: SystemView, entry: EntryMove) -> Instances:
    if entry.app is None:
        return ()
    moves = any(d.moves for d in view.data) or (entry.app.data is not None and entry.app.data.moves)
    there = set(entry.app.serving)
    return tuple(i for i in _surviving(view, entry) if moves or set(_routes(entry, i)) != there)


def _restored_entries(view: SystemView, entry: EntryMove) -> Instances:
    if entry.app is None:
        return ()
    wider = set(entry.app.final) != set(entry.app.serving)
    return tuple(i for i in entry.service.instances if wider or i.centre in view.lost)


RELATIVE: Mapping[Selector, Callable[[SystemView, Instance], Instances]] = {
    Selector.SELF: lambda _, subject: (subject,),
    Selector.UPSTREAM: _upstream,
    Selector.HOME_SOURCE: _home_source,
    Selector.ROUTES_NOW: _routes_now,
}
DATA: Mapping[Selector, Callable[[SystemView, DataMove], Instances]] = {
    Selector.OLD_PRIMARY: _old_primary,
    Selector.CANDIDATE: _candidate,
    Selector.NEW_PRIMARY: lambda _, data: data.at({data.new_primary}),
    Selector.SYNC_STANDBYS: _sync_standbys,
    Selector.LOST_COPIES: lambda view, data: data.at(view.lost),
    Selector.LOST_SYNC_STANDBYS: _lost_sync,
    Selector.CUT_OFF_COPIES: _cut_off,
    Selector.DISPLACED_COPIES: _displaced,
    Selector.BYSTANDER_COPIES: _bystanders,
    Selector.REWIRED_COPIES: _rewired,
    Selector.MISSING_COPIES: lambda _, data: data.at(data.missing),
    Selector.COPIES: _copies,
    Selector.SYNC_COPIES: lambda _, data: data.at({f.target for f in data.home if f.sync}),
    Selector.ASYNC_COPIES: lambda _, data: data.at({f.target for f in data.home if not f.sync}),
    Selector.STANDBY_AT_TARGET: _standby_at_target,
}
APPS: Mapping[Selector, Callable[[SystemView, AppMove], Instances]] = {
    Selector.SERVING_APPS: lambda _, app: app.at(app.serving),
    Selector.WAKING_APPS: lambda _, app: app.at(set(app.serving) - set(app.now)),
    Selector.FINAL_APPS: lambda _, app: app.at(app.final),
    Selector.RETURNING_APPS: _returning_apps,
    Selector.RETIRED_APPS: _retired_apps,
}
ENTRIES: Mapping[Selector, Callable[[SystemView, EntryMove], Instances]] = {
    Selector.ENTRIES: _surviving,
    Selector.MOVED_ENTRIES: _moved_entries,
    Selector.RESTORED_ENTRIES: _restored_entries,
}
WHEN: Mapping[When, Callable[[SystemView, tuple[DataMove, ...], Instance | None], bool]] = {
    When.FAULT: lambda view, *_: view.fault,
    When.NO_FAULT: lambda view, *_: not view.fault,
    When.PRIMARY_MOVES: lambda _, data, __: any(d.moves for d in data),
    When.PRIMARY_STAYS: lambda _, data, __: not any(d.moves for d in data),
    When.ZERO_LOSS: lambda _, data, __: all(d.loss is None or d.loss.proven_zero for d in data),
    When.LOSS_ACCEPTED: lambda _, data, __: any(d.loss is not None and not d.loss.proven_zero for d in data),
    When.IN_REACH: lambda view, _, subject: subject is None or subject.centre not in view.attested,
    When.ATTESTED_OFF: lambda view, _, subject: subject is not None and subject.centre in view.attested,
}
