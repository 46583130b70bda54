import Catalog
import Client
import Model
import Server
import Vault

/// Tokens on the page of one's own account: for programs, which type no password.
enum OwnTokens {
    static func show(_ visit: Visit, _ account: Account) throws -> HTML {
        let tokens = try visit.desk.ownTokens()
        let rows: [HTML] = tokens.map { token, use in
            let used: HTML =
                use.map { "\(Piece.time($0.time, now: visit.now))<small>\($0.address)</small>" } ?? "never"
            return """
                <tr><th scope="row">\(token.name)<small>\(titles(token.rights))</small></th><td>\(used)</td>
                <td>\(Piece.time(token.expires, now: visit.now))</td>
                <td><form method="post" action="/me/tokens/\(AccountBook.identifier(token))/end">\(Piece.formToken(visit))\
                <button class="quiet">End \(token.name)</button></form></td></tr>
                """
        }
        let list: HTML? =
            rows.isEmpty
            ? nil
            : """
            <table><thead><tr><th>Token</th><th>Last used</th><th>Ends</th><th></th></tr></thead><tbody>\(rows)</tbody></table>
            """
        let rights: [HTML] = AccountRight.allCases.filter(account.role.rights.contains).map { right in
            """
            <label class="choice"><input type="checkbox" name="right" value="\(right.rawValue)"\
            \(right == .seeStates || right == .seeOwn ? " checked" as HTML : .nothing)> \(right.title)</label>
            """
        }
        return """
            <h2>Tokens for programs</h2><p class="hint">A program signs in with a token instead of your password and second factor: to the \
            API, and with the <code>holdfast</code> commands. Give it no more than it needs.</p>\(list)
            <details class="card"><summary>Make a token</summary><form method="post" action="/me/tokens">\(Piece.formToken(visit))
            <label>What it is for<input name="name" required maxlength="100" autocomplete="off"></label>
            <fieldset><legend>What it may do</legend>\(rights)</fieldset>
            <label>Holds for so many days<input name="days" type="number" min="1" max="\(AccountBook.longestToken / 86_400)" \
            value="\(AccountBook.usualToken / 86_400)" required></label>
            <label>Your password<input name="password" type="password" autocomplete="current-password" required></label>
            <button>Make it, and show it once</button></form></details>
            """
    }

    /// The token, the only time that it can be seen.
    static func shown(_ token: Account.Token, _ code: AccessCode, _ visit: Visit) -> HTML {
        """
        <section class="good"><h2>The token \(token.name)</h2><pre tabindex="0"><code>\(code.text)</code></pre>
        <p>It is not shown again. Put it into a file that only its user can read.</p>
        <p class="hint">For the API: <code>curl -H "Authorization: Bearer $(cat FILE)" \(visit.origin)/api/v1/me</code></p>
        <p class="hint">For commands: <code>export HOLDFAST_TOKEN_FILE=FILE</code></p>
        <p><a class="button" href="/me">I have it</a></p></section>
        """
    }

    private static func titles(_ rights: [String]) -> String {
        rights.compactMap { AccountRight(rawValue: $0)?.title }.joined(separator: ", ")
    }
}
