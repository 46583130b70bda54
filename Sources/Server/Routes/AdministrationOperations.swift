import Client
import Model
import Vault

/// What an administrator sees of the vault and does with it, beside long work.
enum AdministrationOperations {
    private static let base = "/api/v1/vaults/{vault}"

    static let all: [Operation] = [
        Operation(
            "GET", base, "What the vault is, and whether the server can open it.", tag: "administration",
            response: .json("VaultDescription")
        ) { core, request in
            try core.requireVault(request)
            var mayRead = true
            if case .machine = request.principal {
            } else {
                // For who sees some machines, too: it is how their commands find the vault.
                let person = try request.person()
                guard person.may(.seeStates) else { throw ServerCore.notForYou }
                mayRead = person.may(.seeContents)
            }
            return .json(
                JSONValue.object([
                    "config": .string(String(decoding: core.holder.config.encoded(), as: UTF8.self)),
                    "has_keys": .bool(core.keys != nil), "may_read": .bool(mayRead),
                ]).encoded())
        },
        Operation(
            "GET", base + "/statistics", "What the vault holds, in numbers.", tag: "administration",
            response: .json("VaultStatistics")
        ) { core, request in
            try core.requireVault(request)
            try core.require(request, machine: nil, or: .seeStates)
            return .json(AdministrationMessages.encode(try LocalAdministration(try core.vault).overview()))
        },
        Operation(
            "GET", base + "/holds", "The holds of the vault, placed and released.", tag: "administration",
            response: .json("HoldList")
        ) { core, request in
            try core.requireVault(request)
            try core.require(request, machine: nil, or: .seeStates)
            return .json(AdministrationMessages.encode(try core.vault.holds()))
        },
        Operation(
            "POST", base + "/holds",
            "Places or releases a hold. In an owner-only vault it comes with its record, signed by the vault's key.",
            tag: "administration", access: .person(.manageSettings), request: .json("HoldRequest"), status: 204
        ) { core, request in
            try core.requireVault(request)
            try core.require(request, machine: nil)
            try core.place(try JSONFields(parsing: request.body, document: "the hold"))
            return .nothing
        },
        Operation(
            "GET", base + "/keys", "The key files of the vault: with a secret of theirs it opens.",
            tag: "administration", response: .json("KeyMaterial")
        ) { core, request in
            try core.requireVault(request)
            // Points of an owner-only vault are opened on its machines, by who has the passphrase.
            if core.keys == nil, case .machine = request.principal {
            } else {
                try core.require(request, machine: nil, or: .manageOwners)
            }
            return .json(AdministrationMessages.encode(try KeyMaterial(try core.vault.store)))
        },
        Operation(
            "PUT", base + "/keys/{file}", "Adds a key slot.", tag: "administration", access: .person(.manageOwners),
            request: .json("KeySlot"),
            status: 204, failures: [(409, "There is a slot of this number.")], maximumBody: KeyFiles.maximumLength
        ) { core, request in
            try core.requireVault(request)
            try core.require(request, machine: nil, or: .manageOwners)
            let slot = try AdministrationOperations.slot(request)
            guard slot.kind != .server else {
                throw HoldfastError(.denied, "slots of servers are added where the vault lies: `holdfast server init`")
            }
            let vault = try core.vault
            let others = try KeyFiles(files: try KeyMaterial(vault.store).files).slots
            guard !others.contains(where: { $0.number == slot.number }),
                try vault.store.put(KeyFiles.prefix + slot.fileName, request.body, mode: .ifAbsent)
            else { throw HoldfastError(.exists, "There is a key slot \(slot.number) already.") }
            return .nothing
        },
        Operation("DELETE", base + "/keys/{file}", "Removes a key slot.", tag: "administration", status: 204) {
            core, request in
            try core.requireVault(request)
            try core.require(request, machine: nil, or: .manageOwners)
            try core.removeSlot(named: request.parameters["file"] ?? "")
            return .nothing
        },
    ]

    private static func slot(_ request: ServerRequest) throws -> KeySlot {
        let name = request.parameters["file"] ?? ""
        let slot = try KeySlot.decode(request.body, fileName: name)
        guard slot.fileName == name, slot.encoded() == request.body else {
            throw HoldfastError(.damaged, "the key slot is not the one that its name says")
        }
        return slot
    }
}

extension ServerCore {
    fileprivate func place(_ fields: JSONFields) throws {
        guard let value = fields.members["content"] else { throw fields.wrong("content") }
        let content = try AdministrationMessages.hold(value)
        let record: HoldRecord
        if let keys {
            record = try HoldRecord(content, signing: keys.vaultSigning)
        } else {
            guard fields.has("record") else {
                throw HoldfastError(.keyNeeded, "This vault is owner-only: its holds are signed with its passphrase.")
            }
            record = try fields.bytes("record").withUnsafeBytes { try HoldRecord.decode($0) }
            guard record.content == content else { throw fields.wrong("record") }
        }
        try vault.add(record)
    }

    fileprivate func removeSlot(named name: String) throws {
        let vault = try self.vault
        let slots = try KeyFiles(files: try KeyMaterial(vault.store).files).slots
        guard let slot = slots.first(where: { $0.fileName == name }) else {
            throw HoldfastError(.notFound, "There is no such key slot.")
        }
        guard slot.kind != .server else {
            throw HoldfastError(.forbidden, "The server's own key slot is removed where the vault lies.")
        }
        guard slots.contains(where: { $0.number != slot.number && $0.kind != .server }) else {
            throw HoldfastError(
                .forbidden, "Key slot \(slot.number) is the last that a person can open. Add another first.")
        }
        try vault.store.delete([KeyFiles.prefix + slot.fileName])
    }
}
