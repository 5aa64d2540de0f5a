-- What does not add up, a row a finding. Each list is added up by document before it is joined, so that no join
-- multiplies. Sums of what is in another currency than the document are not made: `currency` finds those.
with documents as (
    select i.account, 'invoice' as document, i.id, i.invoice_number as number, i.invoicee_customer_id as customer_id,
        i.id as invoice_id, i.total_tax_exclusive_currency as currency, i.total_tax_exclusive_amount as exclusive,
        i.total_tax_inclusive_amount as inclusive, i.total_payable_amount as payable, i.total_due_amount as due, i.paid,
        i.status, i._detail_at is not null as is_whole,
        array[i.total_tax_inclusive_currency, i.total_payable_currency, i.total_due_currency] as currencies
    from teamleader_views.invoices i
    union all
    select c.account, 'credit_note', c.id, c.credit_note_number, c.invoicee_customer_id, c.invoice_id,
        c.total_tax_exclusive_currency, c.total_tax_exclusive_amount, c.total_tax_inclusive_amount,
        c.total_payable_amount, null, c.paid, c.status, c._detail_at is not null,
        array[c.total_tax_inclusive_currency, c.total_payable_currency]
    from teamleader_views.credit_notes c
),
lines as (
    select l.account, 'invoice' as document, l.invoice_id as id, count(*) as lines,
        sum(l.total_tax_exclusive_amount) as exclusive, sum(l.total_tax_inclusive_amount) as inclusive,
        array_agg(distinct l.total_tax_exclusive_currency) || array_agg(distinct l.total_tax_inclusive_currency)
            as currencies
    from teamleader_views.invoice_lines l
    group by l.account, l.invoice_id
    union all
    select l.account, 'credit_note', l.credit_note_id, count(*), sum(l.total_tax_exclusive_amount),
        sum(l.total_tax_inclusive_amount),
        array_agg(distinct l.total_tax_exclusive_currency) || array_agg(distinct l.total_tax_inclusive_currency)
    from teamleader_views.credit_note_lines l
    group by l.account, l.credit_note_id
),
-- How a discount on the whole document counts is not documented: several may be added, or taken one after the other.
discounts as (
    select d.account, 'invoice' as document, d.invoice_id as id, 1 - sum(d.value) / 100 as added,
        exp(sum(ln(greatest(1 - d.value / 100, 0.000001)))) as in_turn
    from teamleader_views.invoice_discounts d
    where d.type = 'percentage'
    group by d.account, d.invoice_id
    union all
    select d.account, 'credit_note', d.credit_note_id, 1 - sum(d.value) / 100,
        exp(sum(ln(greatest(1 - d.value / 100, 0.000001))))
    from teamleader_views.credit_note_discounts d
    where d.type = 'percentage'
    group by d.account, d.credit_note_id
),
tax_rows as (
    select t.account, 'invoice' as document, t.invoice_id as id, t.rate, t.taxable_amount as taxable, t.tax_amount as tax,
        t.taxable_currency, t.tax_currency
    from teamleader_views.invoice_taxes t
    union all
    select t.account, 'credit_note', t.credit_note_id, t.rate, t.taxable_amount, t.tax_amount, t.taxable_currency,
        t.tax_currency
    from teamleader_views.credit_note_taxes t
),
-- A row of a rate that is off counts by its own, so that two errors do not hide each other.
taxes as (
    select t.account, t.document, t.id, sum(t.taxable) as taxable, sum(t.tax) as tax, count(*) as rates,
        max(abs(t.tax - t.taxable * t.rate)) as off,
        (array_agg(t.taxable * t.rate order by abs(t.tax - t.taxable * t.rate) desc nulls last))[1] as worst_expected,
        (array_agg(t.tax order by abs(t.tax - t.taxable * t.rate) desc nulls last))[1] as worst_found,
        array_agg(distinct t.taxable_currency) || array_agg(distinct t.tax_currency) as currencies
    from tax_rows t
    group by t.account, t.document, t.id
),
payments as (
    select p.account, p.invoice_id as id, sum(p.payment_amount) as paid, array_agg(distinct p.payment_currency) as currencies
    from teamleader_views.invoice_payments p
    group by p.account, p.invoice_id
),
withheld as (
    select w.account, w.invoice_id as id, sum(w.withheld_amount) as withheld
    from teamleader_views.invoice_withheld_taxes w
    group by w.account, w.invoice_id
),
credited as (
    select c.account, c.invoice_id as id, sum(abs(c.total_tax_inclusive_amount)) as amount,
        array_agg(distinct c.total_tax_inclusive_currency) as currencies,
        array_agg(distinct c.invoicee_customer_id) as customers
    from teamleader_views.credit_notes c
    where c.invoice_id is not null
    group by c.account, c.invoice_id
),
-- What adds up is the sum of the document's own currency alone: where there are others no sum is compared.
added as (
    select d.*, l.lines, l.exclusive as lines_exclusive, l.inclusive as lines_inclusive,
        coalesce(x.added, 1) as added, coalesce(x.in_turn, 1) as in_turn,
        t.taxable, t.tax, t.off, t.worst_expected, t.worst_found, coalesce(p.paid, 0) as payments,
        coalesce(w.withheld, 0) as withheld, coalesce(c.amount, 0) as credited, c.customers as credited_to,
        0.01 * (1 + coalesce(l.lines, 4) + coalesce(t.rates, 0)) as tolerance,
        (select count(distinct o.currency)
         from unnest(d.currencies || l.currencies || t.currencies || p.currencies || c.currencies) as o (currency)
         where o.currency <> d.currency) as other_currencies
    from documents d
    left join lines l on l.account = d.account and l.document = d.document and l.id = d.id
    left join discounts x on x.account = d.account and x.document = d.document and x.id = d.id
    left join taxes t on t.account = d.account and t.document = d.document and t.id = d.id
    left join payments p on p.account = d.account and d.document = 'invoice' and p.id = d.id
    left join withheld w on w.account = d.account and d.document = 'invoice' and w.id = d.id
    left join credited c on c.account = d.account and d.document = 'invoice' and c.id = d.id
)
select a.account, f.finding as "check", a.document, a.id as document_id, a.number, round(f.expected, 2) as expected,
    round(f.found, 2) as found, round(f.found - f.expected, 2) as difference, a.currency, f.meaning
from added a
cross join lateral (
    values
        ('currency', a.other_currencies > 0, 0, a.other_currencies,
            'The document, its lines, its taxes, its payments or its credit notes have amounts in that many other '
            'currencies: its sums are not compared.'),
        ('lines', a.other_currencies = 0 and a.lines > 0 and least(abs(a.exclusive - a.lines_exclusive),
                abs(a.exclusive - a.lines_exclusive * a.added), abs(a.exclusive - a.lines_exclusive * a.in_turn))
                > a.tolerance, a.lines_exclusive * a.added, a.exclusive,
            'The total without taxes is not what the lines add up to, less the discount on the document.'),
        ('lines_with_taxes', a.other_currencies = 0 and a.lines > 0 and least(abs(a.inclusive - a.lines_inclusive),
                abs(a.inclusive - a.lines_inclusive * a.added), abs(a.inclusive - a.lines_inclusive * a.in_turn))
                > a.tolerance, a.lines_inclusive * a.added, a.inclusive,
            'The total with taxes is not what the lines add up to, less the discount on the document.'),
        ('total', a.other_currencies = 0 and abs(a.exclusive + coalesce(a.tax, 0) - a.inclusive) > a.tolerance,
            a.exclusive + coalesce(a.tax, 0), a.inclusive, 'The total with taxes is not that without, and the taxes.'),
        ('taxable', a.other_currencies = 0 and abs(a.taxable) - abs(a.exclusive) > a.tolerance, a.exclusive, a.taxable,
            'More is taxed than the total without taxes.'),
        ('tax_rate', a.other_currencies = 0 and a.off > a.tolerance, a.worst_expected, a.worst_found,
            'A tax is not its rate of what is taxable.'),
        ('payable', a.other_currencies = 0 and abs(a.payable - a.inclusive) > a.tolerance
                and abs(a.payable - (a.inclusive - a.withheld)) > a.tolerance, a.inclusive, a.payable,
            'What is to be paid is neither the total with taxes nor that less what is withheld.'),
        ('due', a.document = 'invoice' and a.other_currencies = 0 and a.is_whole and a.status is distinct from 'draft'
                and (a.due - (a.payable - a.payments) > a.tolerance
                    or a.payable - a.payments - a.credited - a.due > a.tolerance), a.payable - a.payments, a.due,
            'What is still to be paid is not what was to be paid less the payments, nor that less credit notes.'),
        ('paid', a.document = 'invoice' and a.paid and a.due > a.tolerance, 0, a.due,
            'The invoice is marked as paid, and something is still to be paid.'),
        ('unpaid', a.document = 'invoice' and not a.paid and a.status is distinct from 'draft'
                and a.due <= 0 and a.payable > a.tolerance and a.credited = 0, a.payable - a.payments, a.due,
            'The invoice is not marked as paid, and nothing is to be paid any more.'),
        ('credit_notes', a.document = 'invoice' and a.other_currencies = 0
                and a.credited - abs(a.inclusive) > a.tolerance, a.inclusive, a.credited,
            'The credit notes of the invoice are more than it.'),
        ('credit_note_customer', a.document = 'invoice' and exists (
                select from unnest(a.credited_to) as o (customer_id) where o.customer_id <> a.customer_id), null, null,
            'A credit note of the invoice is of another customer.')
) as f (finding, is_so, expected, found, meaning)
where f.is_so
