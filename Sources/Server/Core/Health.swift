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

/// What was found the last time, for those who ask meanwhile.
struct HealthMemory: Sendable {
    var known: Health?
    var time: Int64 = 0
    /// Since when somebody looks.
    var looking: Int64?
}

extension ServerCore {
    /// Less than this part of the vault's disk free is worth a word, and less than that is trouble.
    private static let lowShare = 0.05, lowestShare = 0.01

    /// Looks that take longer than this say something themselves, in nanoseconds.
    private static let patience: Int64 = 15_000_000_000

    /// Looks at everything at most once a second, and one at a time, however many ask: who asks meanwhile hears what was found
    /// before.
    func health() -> Health {
        let known = lastHealth.withLock { memory -> Health? in
            let now = SystemClock.monotonic
            guard let known = memory.known else { return nil }
            if let since = memory.looking {
                if now - since < Self.patience { return known }
                let seconds = (now - since) / 1_000_000_000
                return Health(checks: [
                    Health.Check(
                        name: "vault", status: .failing,
                        reason: "The vault has not answered for \(seconds) seconds. Is its disk there?")
                ])
            }
            if now - memory.time < 1_000_000_000 { return known }
            memory.looking = now
            return nil
        }
        if let known { return known }
        let fresh = Health(
            checks: [databaseCheck(), vaultCheck(), diskCheck(), certificateCheck()] + protectionChecks()
                + [retentionCheck()])
        lastHealth.withLock { $0 = HealthMemory(known: fresh, time: SystemClock.monotonic) }
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
            // Anybody may ask: what is looked at must not grow with the vault.
            _ = try vault.catalog.packs(after: 0, limit: 1)
            guard try vault.store.contains(StoreKey.config) else {
                return (.failing, "The vault has no config.json any more. Is its drive still mounted?")
            }
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
