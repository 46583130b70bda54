import Browsing
import Catalog
import Client
import Model
import Server
import Vault

/// What somebody has put together to fetch at once.
enum BasketPage {
    /// Whoever can do something with what is in it.
    private static let people: Page.Access = .anyRight([.seeContents, .restore, .seeOwn])

    static func isFor(_ visit: Visit) -> Bool { visit.mayRead || visit.may(.restore) }

    static let all: [Page] = [
        .get("/basket", "What was put together to be fetched.", people, show),
        .post("/machines/{machine}/basket", people, add),
        .post("/basket/remove", people, remove),
    ]

    /// How many things are in it, for the frame of each page.
    static func count(_ visit: Visit) -> Int {
        visit.visitor.map { visit.site.baskets.items(of: $0.session).count } ?? 0
    }

    private static func session(_ visit: Visit) throws -> Bytes32 {
        guard let visitor = visit.visitor else { throw HoldfastError(.keyNeeded, "Sign in first.") }
        return visitor.session
    }

    private static let noneOfThis = HoldfastError(.usage, "One of the selected paths is none of this directory.")

    /// Takes the same form as a download: the point, the directory, and what was picked in it. What was deleted goes in as of the
    /// last point that had it.
    @Sendable private static func add(_ visit: Visit) throws -> ServerAnswer {
        let machine = try visit.machine(visit.request.parameters["machine"])
        if visit.form.text("do") == "restore" {
            if !visit.form.all(GonePick.name).isEmpty { return try take(visit) }
            // The same form, sent on to the page that takes it.
            return ServerAnswer(status: 307, headers: [("Location", "/machines/\(machine.id.hex)/restore")])
        }
        let (folder, point) = try put(visit, machine)
        let path = Address.encode([UInt8(ascii: "/")] + folder.bytes)
        let kept = RestorePlace.kept(visit.form).map { "&\($0.name)=\(Address.encode($0.value))" }.joined()
        return .redirect("/machines/\(machine.id.hex)/files?point=\(point.hex)&path=\(path)\(kept)")
    }

    /// Puts what was selected into the basket, because it is of several times, and opens that.
    static func take(_ visit: Visit) throws -> ServerAnswer {
        _ = try put(visit, visit.machine(visit.request.parameters["machine"]))
        return .redirect("/basket?why=times")
    }

    private static func put(_ visit: Visit, _ machine: ManagedMachine) throws -> (folder: TreePath, point: PointID) {
        let files = try visit.desk.files(of: machine)
        let point = try files.point(visit.form.text("point"))
        let folder = try RestorePlace.path(visit.form)
        let picked = try visit.form.all("pick").map { text -> TreePath in
            guard let path = Hex.decode(String(decoding: text, as: UTF8.self)).flatMap({ TreePath(normalizing: $0) }),
                folder.contains(path)
            else { throw noneOfThis }
            return path
        }
        let gone = try visit.form.all(GonePick.name).prefix(Baskets.mostItems + 1).map { text in
            guard let pick = GonePick(text), folder.contains(pick.path) else { throw noneOfThis }
            return (path: pick.path, point: try files.point(pick.point.hex))
        }
        let last = files.lastPoints(of: gone, before: point)
        let paths = picked.isEmpty && gone.isEmpty ? [folder] : picked
        try visit.site.baskets.add(
            paths.map { Baskets.Item(machine: machine.id, point: point.id, path: $0) }
                + gone.map { Baskets.Item(machine: machine.id, point: (last[$0.path] ?? $0.point).id, path: $0.path) },
            to: session(visit))
        return (folder, point.id)
    }

    private static func key(_ item: Baskets.Item) -> String {
        "\(item.machine.hex)-\(item.point.hex)-\(Hex.encode(item.path.bytes))"
    }

    @Sendable private static func remove(_ visit: Visit) throws -> ServerAnswer {
        let session = try session(visit)
        if visit.form.text("do") == "all" {
            visit.site.baskets.clear(session)
        } else {
            let wanted = visit.form.text("item")
            visit.site.baskets.remove(
                Set(visit.site.baskets.items(of: session).filter { key($0) == wanted }), from: session)
        }
        return .redirect("/basket")
    }

    // MARK: The page

    @Sendable private static func show(_ visit: Visit) throws -> ServerAnswer {
        let items = visit.site.baskets.items(of: try session(visit))
        if items.isEmpty {
            return Layout.page(
                "Basket", visit,
                Piece.empty(
                    "Nothing is in it",
                    "<p>Open the <a href=\"/machines\">files of a machine</a>, mark some, and put them into the basket; go on in other directories, and fetch all at once.</p>"
                ))
        }
        var groups: [(machine: MachineID, point: PointID, items: [Baskets.Item])] = []
        for item in items {
            if let index = groups.firstIndex(where: { $0.machine == item.machine && $0.point == item.point }) {
                groups[index].items.append(item)
            } else {
                groups.append((item.machine, item.point, [item]))
            }
        }
        let parts: [HTML] = groups.map { group in part(group.machine, group.point, group.items, visit) }
        let note: HTML? =
            visit.query.text("why") == "times"
            ? """
            <p class="note" role="status">What was deleted is of earlier times than the rest, so all that you selected was put in here. Fetch it \
            time by time.</p>
            """
            : groups.count > 1
                ? "<p class=\"hint\">They are of several machines or times: each is fetched by itself.</p>" : nil
        return Layout.page(
            "Basket", visit,
            """
            \(note)\(parts)<form method="post" action="/basket/remove">\(Piece.formToken(visit))<button name="do" value="all">Empty the basket</button></form>
            """)
    }

    private static func part(_ id: MachineID, _ point: PointID, _ items: [Baskets.Item], _ visit: Visit) -> HTML {
        // Retention may have taken the point, and somebody the machine.
        guard let machine = try? visit.machine(id.hex), let files = try? visit.desk.files(of: machine),
            let summary = try? files.point(point.hex)
        else {
            let rows: [HTML] = items.map { row($0, nil, nil, visit) }
            return """
                <section><h2>Not kept any more</h2><p class="note">The point that these were chosen from is gone. Choose them again at another time.</p>
                <table class="plain"><tbody>\(rows)</tbody></table></section>
                """
        }
        var total: UInt64 = 0
        var hasFolders = false
        let rows: [HTML] = items.map { item in
            let found = try? files.view(point) { view in
                try view.entry(of: item.path).map { (kind: $0.kind, size: $0.size) }
            }
            if let found {
                if found.kind == .directory { hasFolders = true } else { total &+= found.size }
            }
            return row(item, summary, found, visit)
        }
        let picks: [HTML] = items.map { "<input type=\"hidden\" name=\"pick\" value=\"\(Hex.encode($0.path.bytes))\">" }
        let amount: HTML = "\(Piece.size(total))\(hasFolders ? " and what is in the directories" : "")"
        return """
            <section><h2>\(machine.name), \(TimeText.local(summary.effective, in: visit.zone))</h2>
            <table class="plain"><tbody>\(rows)</tbody></table><p class="hint">\(Units.count(items.count, "thing")), \(amount).</p>
            <form method="post" action="/machines/\(id.hex)/archive" class="actions">\(Piece.formToken(visit))
            <input type="hidden" name="point" value="\(point.hex)"><input type="hidden" name="hex" value="">\(picks)
            \(FilesPage.fetching(machine, visit))</form></section>
            """
    }

    private static func row(
        _ item: Baskets.Item, _ point: PointSummary?, _ found: (kind: EntryKind, size: UInt64)?, _ visit: Visit
    ) -> HTML {
        let text = item.path.displayText
        let page = found?.kind == .directory ? "files" : "file"
        let path = Address.encode([UInt8(ascii: "/")] + item.path.bytes)
        let name: HTML =
            point == nil
            ? "\(text)"
            : "<a href=\"/machines/\(item.machine.hex)/\(page)?point=\(item.point.hex)&path=\(path)\">\(text)</a>"
        let size: HTML =
            found.map { $0.kind == .directory ? "a directory, with all in it" : Piece.size($0.size) }
            ?? "not there at this time"
        return """
            <tr><th scope="row">\(name)</th><td data-label="Size">\(size)</td><td><form method="post" action="/basket/remove">\(Piece.formToken(visit))
            <button class="quiet" name="item" value="\(key(item))" aria-label="Take \(text) out">Take out</button></form></td></tr>
            """
    }
}
