import Client
import Model
import Vault

/// A mail server that takes this server's mails.
package struct MailSubmission: SecretValue {
    package enum Security: String, Sendable, CaseIterable {
        /// TLS from the first byte, usually port 465.
        case implicit
        /// Begins in the clear and goes over to TLS, which it must: usually port 587.
        case upgrade
        /// Nothing is encrypted: on this machine only.
        case none
    }

    package var host: String
    package var port: Int
    package var security: Security
    package var user: String?
    package var password: String?

    package init(host: String, port: Int, security: Security, user: String? = nil, password: String? = nil) {
        self.host = host
        self.port = port
        self.security = security
        self.user = user
        self.password = password
    }

    /// Throws `usage` for what cannot work or would be dangerous.
    package func check() throws {
        let isHost = host.utf8.allSatisfy {
            (0x30...0x39).contains($0) || (0x41...0x5A).contains($0) || (0x61...0x7A).contains($0)
                || "-.:".utf8.contains($0)
        }
        guard isHost, (1...253).contains(host.utf8.count), !host.hasPrefix("-") else {
            throw HoldfastError(.usage, "\"\(TreePath.display(host.utf8))\" is no name of a mail server.")
        }
        guard (1...65_535).contains(port) else {
            throw HoldfastError(.usage, "The port of a mail server is a number from 1 to 65535.")
        }
        let isHere = ["localhost", "127.0.0.1", "::1"].contains(host.lowercased())
        guard security != .none || isHere else {
            throw HoldfastError(
                .usage, "Without encryption mail is handed to this machine itself only; choose TLS for \(host).")
        }
        func isLine(_ text: String) -> Bool {
            text.utf8.allSatisfy { $0 >= 0x20 && $0 != 0x7F } && text.utf8.count <= 500
        }
        guard isLine(user ?? ""), isLine(password ?? ""), !(user ?? "").contains(":") else {
            throw HoldfastError(.usage, "User and password are one line each, and the user has no colon.")
        }
        guard password == nil || user != nil else {
            throw HoldfastError(.usage, "A password takes a user.")
        }
    }

    var encoded: JSONValue {
        var fields: [String: JSONValue] = [
            "host": .string(host), "port": .integer(Int64(port)), "security": .string(security.rawValue),
        ]
        if let user { fields["user"] = .string(user) }
        if let password { fields["password"] = .string(password) }
        return .object(fields)
    }

    init(_ fields: JSONFields) throws {
        guard let security = Security(rawValue: try fields.string("security")) else { throw fields.wrong("security") }
        self.init(
            host: try fields.string("host"), port: Int(try fields.integer("port", in: 1...65_535)), security: security,
            user: fields.has("user") ? try fields.string("user") : nil,
            password: fields.has("password") ? try fields.string("password") : nil)
    }
}
