import Browsing
import Catalog
import Client
import Model
import Server
import Vault

/// Restores to machines: the form that orders one, and its page from the plan to the result.
enum RestoreOrderPages {
    private static let people: Page.Access = .anyRight(Desk.restoreRights)

    static let all: [Page] = [
        .get("/machines/{machine}/restore", "A form that orders a restore to a machine.", people, ask),
        .post("/machines/{machine}/restore", people, ask),
        .post("/machines/{machine}/restore/order", people, order),
        .get("/restores/{order}", "A restore to a machine: its plan, how far it is, what came of it.", people, show),
        .get("/restores/{order}/now", "What of that page changes.", people, now),
        .post("/restores/{order}/confirm", people) { visit in
            let seen = Int64(visit.form.text("plan")) ?? -1
            return .redirect(address(try visit.desk.confirmRestore(try find(visit), seen: seen)))
        },
        .post("/restores/{order}/stop", people) { visit in
            .redirect(address(try visit.desk.stopRestore(try find(visit))))
        },
        .post("/restores/{order}/undo", people) { visit in
            .redirect(address(try visit.desk.undoRestore(try find(visit))))
        },
    ]

    static func address(_ order: RestoreOrder) -> String { "/restores/\(order.id.hex)" }

    private static func find(_ visit: Visit) throws -> RestoreOrder {
        try visit.desk.restoreOrder(visit.request.parameters["order"])
    }

    // MARK: The form

    /// What was chosen: a machine, a point and paths; from an address, or from a form with `pick`s.
    private struct Choice {
        var machine: ManagedMachine
        var point: PointSummary
        var folder: TreePath
        var paths: [TreePath]
    }

    private static func choice(_ visit: Visit, _ fields: FormFields) throws -> Choice {
        let machine = try visit.machine(visit.request.parameters["machine"])
        let point = try visit.desk.files(of: machine).point(fields.text("point"))
        let folder = try RestorePlace.path(fields)
        let picked = try fields.all("pick").map { text -> TreePath in
            guard let path = Hex.decode(String(decoding: text, as: UTF8.self)).flatMap({ TreePath(normalizing: $0) }),
                folder.contains(path)
            else { throw HoldfastError(.usage, "One of the selected paths is none of this directory.") }
            return path
        }
        guard picked.count <= RestoreWish.maximumPaths else {
            throw HoldfastError(
                .tooLarge,
                "At most \(RestoreWish.maximumPaths) names can be restored at once. Select the directory instead.")
        }
        return Choice(machine: machine, point: point, folder: folder, paths: picked.isEmpty ? [folder] : picked)
    }

    @Sendable private static func ask(_ visit: Visit) throws -> ServerAnswer {
        let chosen = try choice(visit, visit.request.method == "POST" ? visit.form : visit.query)
        let picks: [HTML] = chosen.paths.map {
            "<input type=\"hidden\" name=\"pick\" value=\"\(Hex.encode($0.bytes))\">"
        }
        let what: [HTML] = chosen.paths.prefix(12).map { "<li>\($0.displayText)</li>" }
        let more: HTML? = chosen.paths.count > 12 ? "<li>and \(chosen.paths.count - 12) more</li>" : nil
        let back =
            "/machines/\(chosen.machine.id.hex)/files?point=\(chosen.point.id.hex)&path="
            + Address.encode([UInt8(ascii: "/")] + chosen.folder.bytes)
        let time = TimeText.local(chosen.point.effective, in: visit.zone)
        return Layout.page(
            "Restore to a machine", visit,
            """
            <section><h2>What</h2><p>As it was at <strong>\(time)</strong> on <strong>\(chosen.machine.name)</strong>:</p>
            <ul class="paths">\(what)\(more)</ul><p><a href="\(back)">Choose something else</a></p></section>
            <form class="order" method="post" action="/machines/\(chosen.machine.id.hex)/restore/order">\(Piece.formToken(visit))
            <input type="hidden" name="point" value="\(chosen.point.id.hex)">
            <input type="hidden" name="hex" value="\(Hex.encode(chosen.folder.bytes))">\(picks)
            \(visit.may(.restore) ? try places(chosen, visit) : ownPlace(chosen))
            <section><fieldset><legend>If the machine is not there</legend>
            <label>Wait for it at most<select name="patience">\(patience)</select></label></fieldset></section>
            <div class="actions"><button class="main">Make a plan</button>
            <span class="hint">Nothing is changed before you have seen the plan. What may be restored there at all, the machine's own \
            administrator says in <code>/etc/holdfast/allow.yaml</code>.</span></div></form>
            """)
    }

    private static func places(_ chosen: Choice, _ visit: Visit) throws -> HTML {
        """
            <section><fieldset><legend>Where to</legend>
            \(choiceOf("to", "new-folder", "A new folder", "Made for this on the machine; nothing that is there is touched.", true))
            \(choiceOf("to", "in-place", "Where it was", "What is replaced is kept in a point first, and can be taken back.", false))
            \(choiceOf("to", "folder", "Another folder", "Below it, under the full path.", false))
            <label class="inner">Folder<input name="folder" placeholder="/srv/restore/monday" autocomplete="off" spellcheck="false"></label>
            </fieldset>\(try target(chosen, visit))</section>
            <section><fieldset><legend>If something is there already</legend>
            \(choiceOf("conflict", "", "As usual", "Where it was: replaced. In a folder: both are kept.", true))
            \(choiceOf("conflict", "rename", "Keep both", "What is restored gets a name with a suffix.", false))
            \(choiceOf("conflict", "always", "Replace it", "", false))
            \(choiceOf("conflict", "newer", "Replace it when it is older", "", false))
            \(choiceOf("conflict", "never", "Leave it as it is", "", false))
            </fieldset>
            <label class="choice"><input type="checkbox" name="delete" value="1"><span>Remove what was not there then\
            <small>The directory becomes exactly what it was. Goes with “Replace it” and with “Where it was”.</small></span></label>
            <label class="choice"><input type="checkbox" name="verify" value="1"><span>Read everything back at the end\
            <small>And compare it with the vault; takes longer.</small></span></label></section>
        """
    }

    /// Who has files of their own there gets them beside what is there, and nothing else.
    private static func ownPlace(_ chosen: Choice) -> HTML {
        """
        <section><h2>Where to</h2><p>Into a new folder on <strong>\(chosen.machine.name)</strong>, with owners and rights as they were. \
        Nothing that is there is touched; the next page says where the folder is.</p></section>
        """
    }

    private static let patience: [HTML] = [
        "<option value=\"3600\">1 hour</option>", "<option value=\"86400\">1 day</option>",
        "<option value=\"604800\" selected>1 week</option>", "<option value=\"2592000\">30 days</option>",
    ]

    private static func choiceOf(_ name: String, _ value: String, _ title: String, _ hint: String, _ isChosen: Bool)
        -> HTML
    {
        let mark: HTML = isChosen ? " checked" : .nothing
        let small: HTML? = hint.isEmpty ? nil : "<small>\(hint)</small>"
        return """
            <label class="choice"><input type="radio" name="\(name)" value="\(value)"\(mark)><span>\(title)\(small)</span></label>
            """
    }

    /// Which machine; a choice only for who may restore elsewhere.
    private static func target(_ chosen: Choice, _ visit: Visit) throws -> HTML {
        guard visit.may(.restoreElsewhere) else {
            return "<p class=\"hint\">On \(chosen.machine.name), where it came from.</p>"
        }
        let machines = try visit.machines().filter { $0.state == .active }
        let options: [HTML] = machines.map { machine in
            let mark: HTML = machine.id == chosen.machine.id ? " selected" : .nothing
            let note: HTML = machine.id == chosen.machine.id ? " (where it came from)" : .nothing
            return "<option value=\"\(machine.id.hex)\"\(mark)>\(machine.name)\(note)</option>"
        }
        return "<label>On the machine<select name=\"machine\">\(options)</select></label>"
    }

    @Sendable private static func order(_ visit: Visit) throws -> ServerAnswer {
        let chosen = try choice(visit, visit.form)
        var target = chosen.machine
        if visit.may(.restoreElsewhere), !visit.form.text("machine").isEmpty {
            target = try visit.machine(visit.form.text("machine"))
        } else if !visit.form.text("machine").isEmpty, visit.form.text("machine") != chosen.machine.id.hex {
            throw Desk.notElsewhere
        }
        let destination: RestoreWish.Destination
        switch visit.may(.restore) ? visit.form.text("to") : "" {
        case "in-place": destination = .inPlace
        case "folder":
            let typed = visit.form.bytes("folder") ?? []
            guard typed.first == UInt8(ascii: "/"), let path = TreePath(normalizing: typed), !path.isRoot else {
                throw HoldfastError(
                    .usage, "The folder must be an absolute path without “..”, such as /srv/restore/monday.",
                    context: ["hint": "Go back and type it, or choose a new folder."])
            }
            destination = .folder([UInt8(ascii: "/")] + path.bytes)
        default: destination = .newFolder
        }
        var wish = RestoreWish(
            source: chosen.machine.id, target: target.id, point: chosen.point.id, paths: chosen.paths,
            destination: destination)
        wish.existing = RestoreWish.Existing(rawValue: visit.form.text("conflict"))
        wish.deletesExtra = visit.form.text("delete") == "1"
        wish.verifies = visit.form.text("verify") == "1"
        wish.patience = Int64(visit.form.number("patience", in: 60...31_622_400) ?? Int(RestoreWish.usualPatience))
        return .redirect(address(try visit.desk.orderRestore(wish)))
    }

    // MARK: The page of an order

    @Sendable private static func show(_ visit: Visit) throws -> ServerAnswer {
        let order = try find(visit)
        return Layout.page(
            RestoreOrderView.title(order), visit,
            """
            <script type="module" src="\(Assets.restores.path)"></script>
            <div data-fragment="/restores/\(order.id.hex)/now">\(try RestoreOrderView.show(order, visit))</div>
            """)
    }

    /// The part of the page that changes: fetched again and again while it is open.
    @Sendable private static func now(_ visit: Visit) throws -> ServerAnswer {
        var answer = ServerAnswer.page(try RestoreOrderView.show(try find(visit), visit))
        answer.headers.append(("Cache-Control", "no-store"))
        return answer
    }
}
