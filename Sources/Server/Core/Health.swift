import Catalog
import Model
import Platform
import Synchronization
import Vault

/// How the server is, with the reasons.
struct Health: Sendable {
    enum Status: String, Comparable, Sendable {
        case ok, degraded, failing
        private var rank: Int { self == .ok ? 0 : self == .degraded ? 1 : 2 }
        static func < (a: Status, b: Status) -> Bool { a.rank < b.rank }
    }

    struct Check: Sendable {
        var name: String
        var status: Status
        /// What is wrong and what to do; empty when nothing is.
        var reason: String
    }

    var checks: [Check]
    var status: Status { checks.map(\.status).max() ?? .ok }

    /// - Parameter withReasons: for who has signed in; others see names and states only.
    func encoded(withReasons: Bool) -> [UInt8] {
        JSONValue.object([
            "status": .string(status.rawValue),
            "checks": .array(
                checks.map { check in
                    var fields: [String: JSONValue] = [
                        "name": .string(check.name), "status": .string(check.status.rawValue),
                    ]
                    if withReasons, !check.reason.isEmpty { fields["reason"] = .string(check.reason) }
                    return .object(fields)
                }),
        ]).encoded()
    }
}

extension ServerCore {
    /// Less than this part of the vault's disk free is worth a word, and less than that is trouble.
    private static let lowShare = 0.05, lowestShare = 0.01

    /// Looks at everything at most once a second, however many ask.
    func health() -> Health {
        let now = SystemClock.monotonic
        if let (time, known) = lastHealth.withLock({ $0 }), now - time < 1_000_000_000 { return known }
        let fresh = Health(
            checks: [databaseCheck(), vaultCheck(), diskCheck(), certificateCheck()] + protectionChecks()
                + [retentionCheck()])
        lastHealth.withLock { $0 = (now, fresh) }
        return fresh
    }

    private func check(_ name: String, _ body: () throws -> (Health.Status, String)) -> Health.Check {
        do {
            let (status, reason) = try body()
            return Health.Check(name: name, status: status, reason: reason)
        } catch {
            let reason = (error as? HoldfastError)?.message ?? "\(error)"
            return Health.Check(name: name, status: .failing, reason: reason)
        }
    }

    private func databaseCheck() -> Health.Check {
        check("database") {
            _ = try catalog.setting("health")
            return (.ok, "")
        }
    }

    private func vaultCheck() -> Health.Check {
        check("vault") {
            _ = try vault.points(PointQuery(newest: 1))
            return (.ok, "")
        }
    }

    private func diskCheck() -> Health.Check {
        check("disk") {
            guard let space = try vault.store.space(), space.total > 0 else { return (.ok, "") }
            let share = Double(space.available) / Double(space.total)
            if share >= Self.lowShare { return (.ok, "") }
            let text = "\(Units.size(space.available)) of \(Units.size(space.total)) are free on the vault's disk."
            return (share < Self.lowestShare ? .failing : .degraded, text)
        }
    }

    private func certificateCheck() -> Health.Check {
        check("certificate") {
            guard let pem = shownCertificate.withLock({ $0 }), let end = SelfMadeCertificate.end(pem) else {
                return (.ok, "")
            }
            let days = end.since(clock()) / 86_400_000_000_000
            if days < 0 { return (.failing, "The certificate's time is over.") }
            return days < 14 ? (.degraded, "The certificate ends in \(days) days.") : (.ok, "")
        }
    }

    private func protectionChecks() -> [Health.Check] {
        var checks: [Health.Check] = []
        if let failure = protectionFailure.withLock({ $0 }) {
            checks.append(
                Health.Check(
                    name: "own-state", status: .degraded, reason: "The server's own state is not safe: \(failure)"))
        } else {
            checks.append(Health.Check(name: "own-state", status: .ok, reason: ""))
        }
        if keys != nil {
            checks.append(
                check("key-sheet") {
                    try catalog.setting(Self.sheetSetting) != nil
                        ? (.ok, "")
                        : (
                            .degraded,
                            "The key sheet has not been typed back: run `holdfast server check-sheet` and keep the sheet."
                        )
                })
        }
        return checks
    }
}
