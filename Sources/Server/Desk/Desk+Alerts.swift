package import Catalog
package import Client
import Model
import Vault

/// Alerts, what somebody says of them, and rules by which nobody is told of some for a while.
extension Desk {
    /// Alerts that hold, and so many that are resolved, newest first. Those of the server are for who sees all machines.
    package func alerts(resolved count: Int) throws -> [AlertRecord] {
        try require(.seeStates)
        let seen = Set(try machines().map(\.id))
        return try core.catalog.alerts(resolved: count).filter { alert in
            alert.machine.map { seen.contains($0) } ?? person.seesAllMachines
        }
    }

    /// Takes what somebody says of an alert. Throws `notFound`, in the same words for one of another's machine.
    @discardableResult
    package func say(_ word: AlertWord, of number: Int64) throws -> AlertRecord {
        try require(.handleAlerts)
        guard let alert = try core.catalog.alert(number), try isTheirs(alert.machine, nil) else {
            throw HoldfastError(.notFound, "There is no such alert.")
        }
        switch word {
        case .acknowledge:
            try note("alert.acknowledged", to: "\(number)")
            return try core.alerts.acknowledge(number, by: person.name)
        case .resolve:
            try note("alert.resolved", to: "\(number)")
            return try core.alerts.resolve(number, by: person.name)
        }
    }

    /// Those that hold now and are about machines of theirs, the next to end first.
    package func alertMutes() throws -> [AlertMute] {
        try require(.seeStates)
        return try core.mutes.all.filter { try isTheirs($0.machine, $0.group) }
    }

    /// Makes a rule. Throws `denied` for one that is about more than their machines, `usage` for what cannot be meant.
    @discardableResult
    package func muteAlerts(_ wish: AlertMuteWish) throws -> AlertMute {
        try require(.handleAlerts)
        if let machine = wish.machine { _ = try self.machine(machine.hex) }
        guard try isTheirs(wish.machine, wish.group) else { throw ServerCore.notForYou }
        if let kind = wish.kind, AlertKind(rawValue: kind) == nil {
            throw HoldfastError(
                .usage, "There are no alerts of the kind \(TreePath.display(kind.utf8)).",
                context: ["hint": "Kinds: \(AlertKind.allCases.map(\.rawValue).joined(separator: ", "))."])
        }
        guard wish.machine == nil || wish.group == nil else {
            throw HoldfastError(.usage, "A rule is about one machine, about one group, or about all.")
        }
        guard AlertMute.seconds.contains(wish.seconds) else {
            throw HoldfastError(.usage, "Alerts are muted for a minute at least and for a year at most.")
        }
        guard wish.reason.utf8.count <= AlertMute.maximumReason, (wish.group?.utf8.count ?? 0) <= 100,
            !wish.reason.unicodeScalars.contains(where: { $0.properties.generalCategory == .control })
        else { throw HoldfastError(.usage, "A reason is one line of at most \(AlertMute.maximumReason) bytes.") }
        let now = core.time
        let rule = AlertMute(
            id: String(RequestNonce.random().hex.prefix(16)), kind: wish.kind, machine: wish.machine, group: wish.group,
            until: now.advanced(by: wish.seconds * 1_000_000_000), reason: wish.reason, by: person.name, created: now)
        try note(
            "alert.muted", to: rule.words { try? core.catalog.machine($0)?.name },
            ["until": .integer(rule.until.nanoseconds), "reason": .string(rule.reason), "rule": .string(rule.id)])
        try core.mutes.add(rule)
        return rule
    }

    /// Ends a rule before its time. Throws `notFound`, in the same words for one of others.
    package func unmuteAlerts(_ id: String) throws {
        try require(.handleAlerts)
        guard let rule = try alertMutes().first(where: { $0.id == id }) else { throw AlertMutes.unknown }
        try note(
            "alert.unmuted", to: rule.words { try? core.catalog.machine($0)?.name }, ["rule": .string(rule.id)])
        try core.mutes.remove(id)
    }

    /// Whether nobody is told of an alert now.
    package func isMuted(_ alert: AlertRecord) -> Bool {
        guard let kind = AlertKind(rawValue: alert.kind) else { return false }
        return core.mutes.covers(AlertBook.Key(kind: kind, machine: alert.machine, subject: alert.subject))
    }

    private func isTheirs(_ machine: MachineID?, _ group: String?) throws -> Bool {
        if person.seesAllMachines { return true }
        if let machine { return try core.catalog.machine(machine).map { person.covers($0) } ?? false }
        return group.map { person.covers(group: $0) } ?? false
    }
}
