package import Model
import Vault

/// People: accounts, sessions, and what they did.
extension SQLiteServerCatalog {
    // MARK: Accounts

    package func add(_ account: Account) throws {
        try write(isChange: true) { session in
            let taken = try session.first("SELECT 1 FROM account WHERE name = $1", .text(account.name)) { _ in true }
            guard taken == nil else {
                throw HoldfastError(.exists, "There is an account \(account.name) already.")
            }
            try session.run(
                "INSERT INTO account (id, name, document) VALUES ($1, $2, $3)", .id(account.id), .text(account.name),
                .bytes(account.json.encoded()))
            try Self.index(account.tokens, of: account.id, before: [], session)
        }
    }

    /// Keeps the table by which an account is found by one of its tokens.
    private static func index(
        _ tokens: [Account.Token], of account: AccountID, before: [Account.Token], _ session: SQLiteSession
    ) throws {
        let (old, new) = (Set(before.map(\.hash)), Set(tokens.map(\.hash)))
        for hash in old.subtracting(new) {
            try session.run("DELETE FROM account_token WHERE hash = $1", .digest(hash))
        }
        for hash in new.subtracting(old) {
            try session.run(
                "INSERT INTO account_token (hash, account, used, address) VALUES ($1, $2, 0, '')", .digest(hash),
                .id(account))
        }
    }

    private static let noAccount = HoldfastError(.notFound, "There is no such account.")

    @discardableResult
    package func changeAccount(_ id: AccountID, _ body: (inout Account) throws -> Void) throws -> Account {
        try write { session in try Self.change(id, session, body) }
    }

    @discardableResult
    package func changeAccount(
        _ id: AccountID, among body: (inout Account, [Account]) throws -> Void
    ) throws -> Account {
        try write { session in
            let others = try Self.others(than: id, session)
            return try Self.change(id, session) { try body(&$0, others) }
        }
    }

    private static func others(than id: AccountID, _ session: SQLiteSession) throws -> [Account] {
        try session.all("SELECT document FROM account ORDER BY name", decode: account).filter { $0.id != id }
    }

    private static func change(
        _ id: AccountID, _ session: SQLiteSession, _ body: (inout Account) throws -> Void
    ) throws -> Account {
        guard
            let known = try session.first(
                "SELECT document FROM account WHERE id = $1", .id(id), decode: Self.account)
        else { throw Self.noAccount }
        var changed = known
        try body(&changed)
        if changed == known { return known }
        if changed.name != known.name {
            let taken = try session.first("SELECT 1 FROM account WHERE name = $1", .text(changed.name)) { _ in true
            }
            guard taken == nil else {
                throw HoldfastError(.exists, "There is an account \(changed.name) already.")
            }
        }
        try session.run(
            "UPDATE account SET name = $2, document = $3 WHERE id = $1", .id(id), .text(changed.name),
            .bytes(changed.json.encoded()))
        try Self.index(changed.tokens, of: id, before: known.tokens, session)
        // When somebody signed in last is no change that has to be put into safety.
        var compared = changed
        compared.lastSignIn = known.lastSignIn
        compared.lastStep = known.lastStep
        if compared != known { try session.run("UPDATE revision SET number = number + 1") }
        return changed
    }

    package func removeAccount(_ id: AccountID, among check: (Account, [Account]) throws -> Void) throws {
        try write(isChange: true) { session in
            guard
                let known = try session.first(
                    "SELECT document FROM account WHERE id = $1", .id(id), decode: Self.account)
            else { throw Self.noAccount }
            try check(known, try Self.others(than: id, session))
            try session.run("DELETE FROM session WHERE account = $1", .id(id))
            try session.run("DELETE FROM account_token WHERE account = $1", .id(id))
            guard try session.run("DELETE FROM account WHERE id = $1", .id(id)) == 1 else { throw Self.noAccount }
        }
    }

    private static func account(_ row: SQLiteRow) throws -> Account {
        try Account(try JSONValue(parsing: row.bytes(0)))
    }

    package func account(_ id: AccountID) throws -> Account? {
        try read { try $0.first("SELECT document FROM account WHERE id = $1", .id(id), decode: Self.account) }
    }

    package func account(named name: String) throws -> Account? {
        try read {
            try $0.first("SELECT document FROM account WHERE name = $1", .text(name.lowercased()), decode: Self.account)
        }
    }

    package func accounts() throws -> [Account] {
        try read { try $0.all("SELECT document FROM account ORDER BY name", decode: Self.account) }
    }

    // MARK: Sessions

    private static func session(_ row: SQLiteRow) throws -> AccountSession {
        AccountSession(
            hash: try row.digest(0), account: try row.identifier(1), begun: row.time(2), used: row.time(3),
            address: row.text(4), browser: row.text(5))
    }

    package func add(_ session: AccountSession) throws {
        _ = try write {
            try $0.run(
                """
                INSERT INTO session (hash, account, begun, used, address, browser) VALUES ($1, $2, $3, $4, $5, $6)
                """, .digest(session.hash), .id(session.account), .time(session.begun), .time(session.used),
                .text(session.address), .text(session.browser))
        }
    }

    package func session(hash: Bytes32) throws -> AccountSession? {
        try read {
            try $0.first(
                "SELECT hash, account, begun, used, address, browser FROM session WHERE hash = $1", .digest(hash),
                decode: Self.session)
        }
    }

    package func touch(session hash: Bytes32, at time: Timestamp) throws {
        _ = try write { try $0.run("UPDATE session SET used = $2 WHERE hash = $1", .digest(hash), .time(time)) }
    }

    package func removeSession(hash: Bytes32) throws {
        _ = try write { try $0.run("DELETE FROM session WHERE hash = $1", .digest(hash)) }
    }

    package func removeSessions(of account: AccountID, except hash: Bytes32?) throws {
        _ = try write {
            try $0.run(
                "DELETE FROM session WHERE account = $1 AND hash <> $2", .id(account), .digest(hash ?? .zero))
        }
    }

    package func sessions(of account: AccountID) throws -> [AccountSession] {
        try read {
            try $0.all(
                """
                SELECT hash, account, begun, used, address, browser FROM session WHERE account = $1 ORDER BY used DESC
                """, .id(account), decode: Self.session)
        }
    }

    package func forgetSessions(begunBefore begun: Timestamp, usedBefore used: Timestamp) throws {
        _ = try write { try $0.run("DELETE FROM session WHERE begun < $1 OR used < $2", .time(begun), .time(used)) }
    }

    // MARK: Tokens

    package func account(token hash: Bytes32) throws -> Account? {
        try read {
            try $0.first(
                """
                SELECT account.document FROM account_token JOIN account ON account.id = account_token.account
                WHERE account_token.hash = $1
                """, .digest(hash), decode: Self.account)
        }
    }

    package func touch(token hash: Bytes32, at time: Timestamp, from address: String) throws {
        _ = try write {
            try $0.run(
                "UPDATE account_token SET used = $2, address = $3 WHERE hash = $1", .digest(hash), .time(time),
                .text(address))
        }
    }

    package func tokenUses(of account: AccountID) throws -> [Bytes32: TokenUse] {
        let rows = try read {
            try $0.all(
                "SELECT hash, used, address FROM account_token WHERE account = $1 AND used <> 0", .id(account)
            ) { (try $0.digest(0), TokenUse(time: $0.time(1), address: $0.text(2))) }
        }
        return Dictionary(rows) { first, _ in first }
    }

    // MARK: Audit

    private static func line(_ row: SQLiteRow) throws -> AuditLine {
        var line = AuditLine(
            time: row.time(1), who: row.text(2), address: row.text(3), action: row.text(4), object: row.text(5),
            succeeded: row.integer(6) != 0, detail: row.bytes(7))
        line.number = row.integer(0)
        line.previous = try row.digest(8)
        line.hash = try row.digest(9)
        return line
    }

    package func append(_ line: AuditLine, seal: (_ number: Int64, _ previous: Bytes32) -> Bytes32) throws {
        try write { session in
            let last = try session.first("SELECT number, hash FROM audit ORDER BY number DESC LIMIT 1") {
                ($0.integer(0), try $0.digest(1))
            }
            let number = (last?.0 ?? 0) + 1
            let previous = last?.1 ?? .zero
            try session.run(
                """
                INSERT INTO audit (number, time, who, address, action, object, succeeded, detail, previous, hash)
                VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
                """, .integer(number), .time(line.time), .text(line.who), .text(line.address), .text(line.action),
                .text(line.object), .integer(line.succeeded ? 1 : 0), .bytes(line.detail), .digest(previous),
                .digest(seal(number, previous)))
        }
    }

    package func auditLines(before: Int64, limit: Int) throws -> [AuditLine] {
        try read {
            try $0.all(
                """
                SELECT number, time, who, address, action, object, succeeded, detail, previous, hash FROM audit
                WHERE number < $1 ORDER BY number DESC LIMIT $2
                """, .integer(before), .number(limit), decode: Self.line)
        }
    }

    package func auditLines(from first: Int64, limit: Int) throws -> [AuditLine] {
        try read {
            try $0.all(
                """
                SELECT number, time, who, address, action, object, succeeded, detail, previous, hash FROM audit
                WHERE number >= $1 ORDER BY number LIMIT $2
                """, .integer(first), .number(limit), decode: Self.line)
        }
    }
}
