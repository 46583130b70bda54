package import Catalog
package import Client
import Model
import Vault

/// Tokens: what stands in for password and second factor where no person types.
extension AccountBook {
    /// Longest time that a token holds, in seconds.
    package static let longestToken: Int64 = 366 * 86_400
    package static let usualToken: Int64 = 90 * 86_400
    /// Tokens of one account.
    package static let mostTokens = 100

    /// Makes a token of an account. It is the only time at which its secret is there.
    ///
    /// - Parameters:
    ///   - maker: who makes it. What was made with a token has no more rights than that one and ends no later.
    ///   - seconds: how long it holds.
    /// - Throws: `usage` for a name, rights or a time that cannot be; `denied` for rights that the maker does not have.
    package func makeToken(
        of id: AccountID, name: String, rights: Set<AccountRight>, seconds: Int64, by maker: Person?, who: String,
        from address: String
    ) throws -> (token: Account.Token, secret: SecretToken) {
        let name = name.trimmed
        guard (1...100).contains(name.utf8.count), name.unicodeScalars.allSatisfy({ $0.value >= 0x20 }) else {
            throw HoldfastError(.usage, "Give the token a name of 1 to 100 characters that says what it is for.")
        }
        guard !rights.isEmpty else { throw HoldfastError(.usage, "Choose at least one right for the token.") }
        guard (60...Self.longestToken).contains(seconds) else {
            throw HoldfastError(.usage, "A token holds for at most \(Self.longestToken / 86_400) days.")
        }
        let now = time
        var expires = now.advanced(by: seconds * 1_000_000_000)
        if let parent = maker?.token {
            guard rights.isSubset(of: maker?.rights ?? []) else { throw Self.tooMuch }
            expires = min(expires, parent.expires)
        }
        let secret = SecretToken.random()
        let token = Account.Token(
            hash: secret.hash, name: name, rights: rights.map(\.rawValue).sorted(), created: now, expires: expires)
        let account = try catalog.changeAccount(id) { account in
            guard !account.isDisabled else { throw HoldfastError(.denied, "This account is disabled.") }
            guard rights.isSubset(of: account.role.rights) else { throw Self.tooMuch }
            account.tokens.removeAll { $0.expires <= now }
            guard account.tokens.count < Self.mostTokens else {
                throw HoldfastError(.usage, "An account has at most \(Self.mostTokens) tokens. End one first.")
            }
            guard !account.tokens.contains(where: { $0.name == name }) else {
                throw HoldfastError(.exists, "There is a token \(name) already. Take another name, or end that one.")
            }
            account.tokens.append(token)
        }
        try audit.note(
            "token.made", by: who, from: address, to: account.name,
            ["token": .string(name), "rights": .array(token.rights.map { .string($0) })])
        return (token, secret)
    }

    private static let tooMuch = HoldfastError(
        .denied, "A token has no rights that its account, or the token that makes it, does not have.")

    /// Ends a token. Throws `notFound`.
    package func endToken(
        of id: AccountID, where isMeant: (Account.Token) -> Bool, who: String, from address: String
    ) throws {
        var name = ""
        let account = try catalog.changeAccount(id) { account in
            guard let index = account.tokens.firstIndex(where: isMeant) else {
                throw HoldfastError(.notFound, "There is no such token.")
            }
            name = account.tokens.remove(at: index).name
        }
        try audit.note("token.ended", by: who, from: address, to: account.name, ["token": .string(name)])
    }

    /// Who a token belongs to; `nil` when its time is over, its account is gone or disabled, or it was never given.
    func person(token hash: Bytes32, from address: String) throws -> Person? {
        let now = time
        guard let account = try catalog.account(token: hash), !account.isDisabled,
            let token = account.tokens.first(where: { $0.hash == hash }), now < token.expires
        else { return nil }
        // Often enough for who looks whether it is used at all.
        if noteUse(hash, now) { try catalog.touch(token: hash, at: now, from: address) }
        return Person(account, token: token)
    }

    /// For lists: the beginning of the hash, which says nothing of the secret.
    package static func identifier(_ token: Account.Token) -> String { Hex.encode(Array(token.hash.array.prefix(8))) }
}
