import Browsing
import Catalog
import Client
import Model
import Server
import Vault

/// What is somebody's own: their machines, and nothing else.
enum MyFilesPage {
    static let path = "/my-files"

    static let all: [Page] = [.get(path, "A person's own machines.", .right(.seeOwn), show)]

    @Sendable private static func show(_ visit: Visit) throws -> ServerAnswer {
        let places = visit.visitor?.account.places ?? []
        let machines = try visit.machines().filter { machine in places.contains { $0.machine == machine.id } }
        if machines.isEmpty {
            return Layout.page(
                "My files", visit,
                Piece.empty(
                    "Nothing is yours yet",
                    "<p>An administrator says which machines and directories are yours. Ask for it, and load this page again.</p>"
                ))
        }
        let cards: [HTML] = try machines.map { machine in
            // Of the directory that was backed up least lately: points may be of some directories only.
            let files = try visit.desk.files(of: machine)
            let newest = places.filter { $0.machine == machine.id }.compactMap { files.points(of: $0.path).last }
                .min { $0.effective < $1.effective }
            let links: [HTML] = places.filter { $0.machine == machine.id }.map { place in
                let address =
                    "/machines/\(machine.id.hex)/files?path="
                    + Address.encode([UInt8(ascii: "/")] + place.path.bytes)
                return "<li><a class=\"folder\" href=\"\(address)\">\(place.path.displayText)</a></li>"
            }
            let state: HTML =
                newest.map { "Last backed up \(Piece.time($0.effective, now: visit.now))" }
                ?? "Nothing is stored of it yet"
            return """
                <section class="card"><h2>\(machine.name)</h2><p class="hint">\(state)</p><ul class="places">\(links)</ul></section>
                """
        }
        return Layout.page(
            "My files", visit,
            """
            <p>Open a directory, choose a time, and download what you want back, or have it put into a new folder on the machine. You see \
            what you could read there at that time.</p>\(cards)\(try RestoreOrderView.list(visit))
            """)
    }
}
