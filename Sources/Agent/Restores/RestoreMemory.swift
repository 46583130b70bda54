import Client
import Model
import Platform
import Vault

/// Orders that have begun on this machine or whose end the server has not heard, in the state directory.
struct RestoreMemory: Sendable {
    private static let folder = "restores"

    struct Kept {
        var order: RestoreOrder
        /// Where it goes.
        var begun: [UInt8]?
        /// What came of it.
        var final: RestoreOrderReport?
    }

    private let state: StateDirectory

    init(_ state: StateDirectory) { self.state = state }

    private static func name(_ id: RestoreOrderID) -> String { "\(id.hex).json" }

    /// What is kept. What cannot be read is passed over: the server says what goes on.
    func load() -> [Kept] {
        let names = (try? state.documents(in: Self.folder)) ?? []
        return names.compactMap { name in
            guard let bytes = (try? state.document(name, in: Self.folder)) ?? nil,
                let fields = try? JSONFields(parsing: bytes, document: name),
                let order = try? RestoreOrder(fields.object("order"))
            else { return nil }
            var kept = Kept(order: order)
            kept.begun = fields.has("begun") ? try? fields.bytes("begun") : nil
            kept.final = fields.has("final") ? try? RestoreOrderReport.decode(fields.object("final").encoded) : nil
            return kept
        }
    }

    func keep(_ kept: Kept) throws {
        var order = kept.order
        order.plan = nil
        var fields: [String: JSONValue] = ["order": order.json]
        if let begun = kept.begun { fields["begun"] = .string(Hex.encode(begun)) }
        if let final = kept.final { fields["final"] = try JSONValue(parsing: final.encoded()) }
        try state.keep(JSONValue.object(fields).encoded(), as: Self.name(kept.order.id), in: Self.folder)
    }

    func remove(_ id: RestoreOrderID) {
        let path = state.path + Array("/\(Self.folder)/\(Self.name(id))".utf8)
        _ = try? withCName(path) { (name) throws(Errno) in
            try FileSystem.remove(at: FileSystem.currentDirectory, name)
        }
    }
}

extension JSONFields {
    fileprivate var encoded: [UInt8] { JSONValue.object(members).encoded() }
}
