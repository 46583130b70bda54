import Catalog
import Client
import Model
import Synchronization
import Vault

/// The rules by which nobody is told of some alerts for a while. Kept among the server's settings.
final class AlertMutes: Sendable {
    static let setting = "alert-mutes"

    private let catalog: any ServerCatalog
    private let clock: @Sendable () -> Timestamp
    private let rules = Mutex<[AlertMute]>([])

    init(_ catalog: any ServerCatalog, clock: @escaping @Sendable () -> Timestamp) {
        self.catalog = catalog
        self.clock = clock
    }

    /// Takes up what was kept.
    func load() throws {
        guard let bytes = try catalog.setting(Self.setting), !bytes.isEmpty else { return }
        let document = "the rules that mute alerts"
        let known = try JSONFields(parsing: bytes, document: document).array("mutes", atMost: AlertMute.maximum)
            .map { try AlertMute(JSONFields($0, document: document)) }
        rules.withLock { $0 = known }
    }

    /// Those that hold now, the next to end first.
    var all: [AlertMute] {
        let now = clock()
        return rules.withLock { $0.filter { $0.until > now } }.sorted { $0.until < $1.until }
    }

    /// Whether nobody is to be told of an alert now.
    func covers(_ key: AlertBook.Key) -> Bool {
        let now = clock()
        let rules = rules.withLock { $0 }
        guard rules.contains(where: { $0.until > now }) else { return false }
        let needsGroup = rules.contains { $0.group != nil }
        let group = needsGroup ? key.machine.flatMap { try? catalog.machine($0)?.group } : nil
        return rules.contains {
            $0.until > now && $0.covers(kind: key.kind.rawValue, machine: key.machine, group: group)
        }
    }

    func add(_ rule: AlertMute) throws {
        try change { rules in
            guard rules.count < AlertMute.maximum else {
                throw HoldfastError(
                    .tooLarge, "There are \(AlertMute.maximum) rules that mute alerts; take some away first.")
            }
            rules.append(rule)
        }
    }

    /// Throws `notFound`.
    func remove(_ id: String) throws {
        try change { rules in
            guard let index = rules.firstIndex(where: { $0.id == id }) else { throw Self.unknown }
            rules.remove(at: index)
        }
    }

    static let unknown = HoldfastError(.notFound, "There is no such rule any more.")

    private func change(_ body: (inout [AlertMute]) throws -> Void) throws {
        let now = clock()
        try rules.withLock { rules in
            // What has ended is forgotten.
            var next = rules.filter { $0.until > now }
            try body(&next)
            try catalog.set(Self.setting, JSONValue.object(["mutes": .array(next.map(\.json))]).encoded())
            rules = next
        }
    }
}
