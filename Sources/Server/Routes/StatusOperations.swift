import Catalog
package import Client
package import Model
import Vault

/// What machines tell of themselves.
enum StatusOperations {
    static let all: [Operation] = [
        Operation(
            "POST", "/api/v1/machines/{machine}/status",
            "Tells how protection stands on a machine, about once a minute; answers when the next report is wanted.",
            tag: "machines", access: .machine, request: .json("MachineReport"), response: .json("ReportAnswer"),
            maximumBody: MachineReport.maximumLength
        ) { core, request in
            let machine = try request.machine()
            guard try request.id("machine", as: MachineID.self) == machine else {
                throw HoldfastError(.denied, "a machine reports of itself only")
            }
            return .json(try core.take(try MachineReport.decode(request.body), of: machine).encoded())
        }
    ]
}

extension ServerCore {
    /// Takes a machine's report.
    package func take(_ report: MachineReport, of machine: MachineID) throws -> ReportAnswer {
        let now = clock()
        switch life.take(report, of: machine, at: now) {
        case nil: break
        case .renamed(let old, let new)?:
            try catalog.change(machine) { known in
                // A name that somebody has chosen stays.
                guard known.name == old else { return }
                known.rename(to: new)
            }
        case .cloned(let known, let other)?:
            try catalog.change(machine) { machine in
                if machine.name == other.hostName, known.hostName != other.hostName {
                    machine.rename(to: known.hostName)
                    machine.formerNames.removeAll { $0 == other.hostName }
                }
            }
        }
        let isAsked = life.live(machine).map { $0.trail.original == report.run && !$0.trail.isParked } ?? false
        return ReportAnswer(
            interval: MachineLife.interval(machines: life.count), changesKey: isAsked)
    }
}

extension ServerCore {
    /// What a list of machines shows of one beside what stands in the catalog.
    func lifeFields(_ machine: ManagedMachine) -> [String: JSONValue] {
        let live = life.live(machine.id)
        let condition = MachineCondition(
            machine, live?.report, received: live?.received, at: clock(), objectives(of: machine),
            hasPoints: hasPoints(machine.id))
        var fields: [String: JSONValue] = ["condition": .string(condition.rawValue)]
        let seen = max(machine.lastSeen, life.seen(machine.id) ?? machine.lastSeen)
        fields["last_seen"] = .integer(seen.nanoseconds)
        if let host = live?.trail.cloneHost { fields["clone_host"] = .string(host) }
        if let live, let report = try? JSONValue(parsing: live.report.encoded()) {
            fields["report"] = report
            fields["received"] = .integer(live.received.nanoseconds)
        }
        return fields
    }

    // MARK: Retiring

    /// Takes a machine out of service. Its keys are refused from now on; its points stay as the rules say.
    package func retire(_ id: MachineID) throws {
        try catalog.change(id) { machine in
            guard machine.state != .retired else {
                throw HoldfastError(.exists, "This machine is retired already.")
            }
            // Its history would fall to the rules, though nobody has said whose it is.
            guard machine.state != .waiting else {
                throw HoldfastError(
                    .forbidden, "This machine was never let in, so it cannot be retired.",
                    context: ["hint": "`holdfast server machines --refuse` sends it away."])
            }
            machine.state = .retired
            machine.previousKey = nil
            machine.waitingKey = nil
            machine.waitingSigning = nil
        }
        life.change(id) { $0.decided() }
    }

    /// Takes a retired machine into service again, with the key that it had.
    package func reinstate(_ id: MachineID) throws {
        try catalog.change(id) { machine in
            guard machine.state == .retired else {
                throw HoldfastError(.notFound, "This machine is not retired.")
            }
            machine.state = .active
        }
    }
}

extension ManagedMachine {
    /// Names that are remembered.
    private static let maximumFormer = 16

    /// Gives the machine another name; the one before is remembered.
    package mutating func rename(to new: String) {
        guard name != new, !new.isEmpty else { return }
        formerNames.removeAll { $0 == new || $0 == name }
        formerNames.insert(name, at: 0)
        if formerNames.count > Self.maximumFormer { formerNames.removeLast() }
        name = new
    }
}
