import Catalog
import Client
import Model
import Platform
import Policy
import Server
import Vault

/// Where policies are: on the server of this machine, or on one that is asked.
struct PolicyPlace {
    /// A machine without a server finds its policy here.
    static let defaultFile = "/etc/holdfast/policy.yaml"

    let book: any PolicyAdministration

    /// A server's address asks that server, as who the access code says, else as this machine; else the server on this machine
    /// is meant.
    init(_ console: Console, _ location: VaultOptions, _ global: GlobalOptions) throws {
        if let address = PolicyPlace.server(location) {
            let session = try VaultSession(console, path: Array(address.utf8), token: location.token, global: global)
            if let connection = session.connection {
                book = RemotePolicies(connection)
                return
            }
        }
        guard try ServerPlace.isThere(global) else {
            throw HoldfastError(
                .notFound, "There is no server on this machine.",
                context: [
                    "hint":
                        "Name one with --vault https://..., and an access code with --token-file; or run this on the server."
                ])
        }
        let place = try ServerPlace(console, global)
        book = PolicyBook(place.catalog, zones: SystemZones.source, author: "command line") {
            Timestamp(nanoseconds: SystemClock.wall)
        }
    }

    /// The address of the server that the options or the environment name; `nil` when they name none.
    static func server(_ location: VaultOptions) -> String? {
        guard let path = try? location.location() else { return nil }
        let text = String(decoding: path, as: UTF8.self)
        return ServerAddress.isServer(text) ? text : nil
    }

    /// The bytes of a policy file.
    static func read(_ path: [UInt8]) throws -> [UInt8] {
        do {
            return try DirectoryPath.openFile(path, [.readOnly, .followLink]).readAll(limit: 2 << 20)
        } catch {
            throw HoldfastError(
                error.isGone ? .notFound : .denied,
                "The policy \(TreePath.display(path)) cannot be read: \(error).", cause: error)
        }
    }

    /// The machine that somebody named, by its name or the beginning of its id.
    func machine(named text: String) throws -> PolicySubject {
        let all = try book.machines()
        let byName = all.filter { $0.name == text }
        let lowered = text.lowercased()
        let found = byName.isEmpty ? all.filter { !lowered.isEmpty && $0.machine.hex.hasPrefix(lowered) } : byName
        guard found.count == 1, let only = found.first else {
            let shown = TreePath.display(text.utf8)
            throw HoldfastError(
                found.isEmpty ? .notFound : .usage,
                found.isEmpty
                    ? "The server knows no machine \"\(shown)\"."
                    : "Several machines are called \"\(shown)\". Use the beginning of an id.",
                context: ["hint": "`holdfast policy machine` lists them."])
        }
        return only
    }
}
