import Client
import Model
import Server

/// A list as people look at it: sorted by a column, filtered, in pages, with rows that can be selected for something that is done
/// to all of them, and as a file for other programs. Its address says how it is looked at.
struct Table<Row> {
    struct Column {
        var key: String
        var title: String
        var isNumber = false
        /// What stands first when somebody sorts by it is the largest.
        var startsLargest = false
        /// Whether one comes before the other, smallest first; `nil` where order means nothing.
        var order: ((Row, Row) -> Bool)?
        var cell: (Row) -> HTML
        /// As text, for other programs.
        var plain: (Row) -> String

        init(
            _ key: String, _ title: String, isNumber: Bool = false, startsLargest: Bool = false,
            order: ((Row, Row) -> Bool)? = nil, plain: @escaping (Row) -> String, cell: ((Row) -> HTML)? = nil
        ) {
            self.key = key
            self.title = title
            self.isNumber = isNumber
            self.startsLargest = startsLargest
            self.order = order
            self.plain = plain
            self.cell = cell ?? { "\(plain($0))" }
        }

        init<Value: Comparable>(
            _ key: String, _ title: String, isNumber: Bool = false, startsLargest: Bool = false,
            by value: @escaping (Row) -> Value, plain: @escaping (Row) -> String, cell: ((Row) -> HTML)? = nil
        ) {
            self.init(
                key, title, isNumber: isNumber, startsLargest: startsLargest, order: { value($0) < value($1) },
                plain: plain, cell: cell)
        }
    }

    /// One of several values that rows have.
    struct Filter {
        var name: String
        var title: String
        var choices: [(value: String, title: String)]
        var holds: (Row, String) -> Bool
    }

    /// Something that is done to selected rows.
    struct Action {
        var name: String
        var title: String
        var isMain = false
    }

    /// The page's address; `.csv` behind it is that of the file.
    var path: String
    /// What one row and several are called.
    var noun: (one: String, many: String)
    /// The first heads the row.
    var columns: [Column]
    var filters: [Filter] = []
    /// The field's title, and whether a row has what was typed, in lower case.
    var search: (title: String, holds: (Row, String) -> Bool)?
    /// The key of the column that rows are sorted by until somebody sorts; with a minus in front the largest come first.
    var usualOrder: String
    /// What names a row in forms and addresses.
    var id: ((Row) -> String)?
    /// Where the selected rows are sent; nothing can be selected without.
    var actions: [Action] = []
    var actionPath = ""
    /// A row that needs somebody's attention is marked.
    var isMarked: ((Row) -> Bool)?
    /// Shown when there is no row at all.
    var empty: HTML = .nothing
    /// What else the address has to keep.
    var kept: [(String, String)] = []

    static var pageLength: Int { 100 }

    // MARK: Which rows

    /// How the address asks to look at it.
    struct View {
        var search = ""
        var chosen: [String: String] = [:]
        var sort: String
        var isLargestFirst: Bool
        var page = 1
        var picked: Set<String> = []
        var isAllPicked = false
    }

    func view(_ query: FormFields) -> View {
        var sort = query.text("sort")
        if !columns.contains(where: { $0.order != nil && (sort == $0.key || sort == "-" + $0.key) }) {
            sort = usualOrder
        }
        let isLargest = sort.hasPrefix("-")
        var view = View(sort: isLargest ? String(sort.dropFirst()) : sort, isLargestFirst: isLargest)
        view.search = String(query.text("q").prefix(200))
        for filter in filters {
            let value = query.text(filter.name)
            if filter.choices.contains(where: { $0.value == value }) { view.chosen[filter.name] = value }
        }
        view.page = query.number("page", in: 1...1_000_000) ?? 1
        view.picked = Set(query.all("pick").prefix(1_000).map { String(decoding: $0, as: UTF8.self) })
        view.isAllPicked = query.text("all") == "1"
        return view
    }

    /// The rows that a view is about, in its order. Equal rows stay as they came.
    func rows(_ all: [Row], _ view: View) -> [Row] {
        let wanted = view.search.lowercased()
        var found = all.filter { row in
            for filter in filters {
                if let value = view.chosen[filter.name], !filter.holds(row, value) { return false }
            }
            return wanted.isEmpty || search?.holds(row, wanted) ?? true
        }
        guard let order = columns.first(where: { $0.key == view.sort })?.order else { return found }
        // The standard library's sort keeps the order of what is equal.
        found.sort { view.isLargestFirst ? order($1, $0) : order($0, $1) }
        return found
    }

    // MARK: Addresses

    private func address(_ view: View, file: Bool = false) -> String {
        let sort = (view.isLargestFirst ? "-" : "") + view.sort
        var fields: [(String, String?)] = kept.map { ($0.0, $0.1) }
        fields.append(("q", view.search))
        fields += filters.map { ($0.name, view.chosen[$0.name]) }
        if sort != usualOrder { fields.append(("sort", sort)) }
        if !file {
            if view.page > 1 { fields.append(("page", "\(view.page)")) }
            if view.isAllPicked {
                fields.append(("all", "1"))
            } else {
                fields += view.picked.sorted().map { ("pick", $0) }
            }
        }
        return path + (file ? ".csv" : "") + Address.query(fields)
    }

    // MARK: As a page

    func show(_ all: [Row], _ visit: Visit) -> HTML {
        if all.isEmpty, !empty.isEmpty { return empty }
        var view = view(visit.query)
        let rows = rows(all, view)
        let pages = max((rows.count + Self.pageLength - 1) / Self.pageLength, 1)
        view.page = min(view.page, pages)
        let shown = rows.dropFirst((view.page - 1) * Self.pageLength).prefix(Self.pageLength)
        let count: HTML =
            rows.count == all.count
            ? "\(Units.count(all.count)) \(all.count == 1 ? noun.one : noun.many)"
            : "\(Units.count(rows.count)) of \(Units.count(all.count)) \(all.count == 1 ? noun.one : noun.many)"
        let body: HTML =
            shown.isEmpty
            ? """
            <tr><td colspan="\(columns.count + (canPick ? 1 : 0))">Nothing fits. <a href="\(path)">Show all</a></td></tr>
            """ : HTML.joined(shown.map { self.row($0, view) }, by: "\n")
        let head: [HTML] = columns.map { self.head($0, view) }
        let table: HTML = """
            <table class="list" id="list" data-live><caption>\(count) <a class="file" href="\(address(view, file: true))" download>Export as CSV</a></caption>
            <thead><tr>\(canPick ? "<th class=\"pick\"><span class=\"unseen\">Selected</span></th>" : .nothing)\(head)</tr></thead>
            <tbody>\(body)</tbody></table>
            """
        let pager = self.pager(view, pages)
        guard canPick else { return "\(filterForm(view))\(table)\(pager)" }
        return """
            \(filterForm(view))<form method="post" action="\(actionPath)" data-selection>\(Piece.formToken(visit))
            <input type="hidden" name="back" value="\(address(view))">\(bar(view, shown.count))\(table)</form>\(pager)
            """
    }

    private var canPick: Bool { id != nil && !actions.isEmpty }

    private func bar(_ view: View, _ count: Int) -> HTML {
        if count == 0 { return .nothing }
        let buttons: [HTML] = actions.map { action in
            "<button name=\"do\" value=\"\(action.name)\"\(action.isMain ? " class=\"main\"" : .nothing)>\(action.title)</button>"
        }
        var other = view
        other.picked = []
        other.isAllPicked = !view.isAllPicked
        let word = view.isAllPicked ? "Select none" : "Select all on this page"
        return """
            <div class="bulk" role="group" aria-label="With what is selected"><a href="\(address(other))" data-all>\(word)</a>\
            <span class="with">With what is selected:</span>\(buttons)</div>
            """
    }

    private func head(_ column: Column, _ view: View) -> HTML {
        let style: HTML = column.isNumber ? " class=\"number\"" : .nothing
        guard column.order != nil else { return "<th scope=\"col\"\(style)>\(column.title)</th>" }
        let isHere = view.sort == column.key
        var next = view
        next.page = 1
        next.sort = column.key
        next.isLargestFirst = isHere ? !view.isLargestFirst : column.startsLargest
        let sorted: HTML = isHere ? " aria-sort=\"\(view.isLargestFirst ? "descending" : "ascending")\"" : .nothing
        let arrow: HTML =
            isHere ? "<span class=\"arrow\" aria-hidden=\"true\">\(view.isLargestFirst ? "▾" : "▴")</span>" : .nothing
        return
            "<th scope=\"col\"\(style)\(sorted)><a href=\"\(address(next))\" data-keeps>\(column.title)\(arrow)</a></th>"
    }

    private func row(_ row: Row, _ view: View) -> HTML {
        let cells: [HTML] = columns.enumerated().map { index, column in
            if index == 0 { return "<th scope=\"row\">\(column.cell(row))</th>" }
            let style: HTML = column.isNumber ? " class=\"number\"" : .nothing
            return "<td\(style) data-label=\"\(column.title)\">\(column.cell(row))</td>"
        }
        var pick = HTML.nothing
        if canPick, let id = id?(row) {
            let isPicked = view.isAllPicked || view.picked.contains(id)
            let name = columns.first?.plain(row) ?? id
            pick = """
                <td class="pick"><input type="checkbox" name="pick" value="\(id)" aria-label="Select \(name)"\(isPicked ? " checked" : .nothing)></td>
                """
        }
        let mark: HTML = isMarked?(row) == true ? " class=\"marked\"" : .nothing
        return "<tr\(mark)>\(pick)\(cells)</tr>"
    }

    private func filterForm(_ view: View) -> HTML {
        var fields: [HTML] = kept.map { "<input type=\"hidden\" name=\"\($0.0)\" value=\"\($0.1)\">" }
        if let search {
            fields.append(
                "<label>\(search.title)<input type=\"search\" name=\"q\" value=\"\(view.search)\" maxlength=\"200\"></label>"
            )
        }
        for filter in filters {
            let choices: [HTML] = filter.choices.map { value, title in
                "<option value=\"\(value)\"\(view.chosen[filter.name] == value ? " selected" : .nothing)>\(title)</option>"
            }
            fields.append(
                "<label>\(filter.title)<select name=\"\(filter.name)\"><option value=\"\">Any</option>\(choices)</select></label>"
            )
        }
        if fields.count == kept.count, columns.allSatisfy({ $0.order == nil }) { return .nothing }
        let sort = (view.isLargestFirst ? "-" : "") + view.sort
        let orders: [HTML] = columns.filter { $0.order != nil }.flatMap { column -> [HTML] in
            [(column.key, "\(column.title), up"), ("-" + column.key, "\(column.title), down")].map { value, title in
                "<option value=\"\(value)\"\(value == sort ? " selected" : .nothing)>\(title)</option>"
            }
        }
        // Where there is room the heads of the columns do it.
        let order: HTML? =
            orders.isEmpty
            ? nil : "<label class=\"narrow-only\">Sorted by<select name=\"sort\">\(orders)</select></label>"
        let narrow: HTML = fields.count == kept.count ? " narrow-only" : .nothing
        return
            "<form class=\"filter\(narrow)\" role=\"search\" action=\"\(path)\">\(fields)\(order)<button>Filter</button></form>"
    }

    private func pager(_ view: View, _ pages: Int) -> HTML {
        guard pages > 1 else { return .nothing }
        func link(_ number: Int, _ word: String) -> HTML {
            guard (1...pages).contains(number), number != view.page else { return "<span class=\"off\">\(word)</span>" }
            var other = view
            other.page = number
            other.isAllPicked = false
            return "<a href=\"\(address(other))\" data-keeps>\(word)</a>"
        }
        return """
            <nav class="pager" aria-label="Pages of the list">\(link(1, "First"))\(link(view.page - 1, "Back"))
            <span>Page \(view.page) of \(pages)</span>\(link(view.page + 1, "Next"))\(link(pages, "Last"))</nav>
            """
    }

    // MARK: As a file

    /// All rows that the address asks for, in its order.
    func file(_ all: [Row], _ visit: Visit, name: String) -> ServerAnswer {
        var text = CSV.line(columns.map(\.title))
        for row in rows(all, view(visit.query)) { text += CSV.line(columns.map { $0.plain(row) }) }
        var answer = ServerAnswer(contentType: "text/csv; charset=utf-8; header=present", body: Array(text.utf8))
        answer.headers = [("Content-Disposition", DownloadName.disposition(Array("holdfast-\(name).csv".utf8)))]
        return answer
    }
}

/// What was selected in a table, as its form sends it.
struct Selection {
    var action: String
    var ids: [String]
    /// The page to go back to.
    var back: String

    /// At most so many rows at once.
    static let most = 1_000

    init(_ visit: Visit, back usual: String) throws {
        action = visit.form.text("do")
        ids = visit.form.all("pick").map { String(decoding: $0, as: UTF8.self) }
        let wanted = visit.form.text("back")
        back = wanted.hasPrefix(usual) ? wanted : usual
        guard !ids.isEmpty else {
            throw HoldfastError(
                .usage, "Nothing was selected, so nothing was done.",
                context: ["hint": "Go back, mark some rows at their beginning, and try again."])
        }
        guard ids.count <= Self.most else {
            throw HoldfastError(.tooLarge, "At most \(Units.count(Self.most)) rows at once; nothing was done.")
        }
    }
}
