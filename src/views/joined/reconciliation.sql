-- What does not add up, a row a finding. Nothing is joined: all that belongs to a document stands in one list, and is
-- added up by document at once, so that PostgreSQL reads each view once, whatever it expects of the numbers of rows.
with facts (account, document, id, fact, a, b, c, d, customer, currency_a, currency_b, currency_c, currency_d, number,
        status, paid, is_whole) as (
    select i.account, 'invoice', i.id, 'document', i.total_tax_exclusive_amount, i.total_tax_inclusive_amount,
        i.total_payable_amount, i.total_due_amount, i.invoicee_customer_id::text, i.total_tax_exclusive_currency,
        i.total_tax_inclusive_currency, i.total_payable_currency, i.total_due_currency, i.invoice_number, i.status,
        i.paid, i._detail_at is not null
    from teamleader_views.invoices i
    union all
    select c.account, 'credit_note', c.id, 'document', c.total_tax_exclusive_amount, c.total_tax_inclusive_amount,
        c.total_payable_amount, null, c.invoicee_customer_id::text, c.total_tax_exclusive_currency,
        c.total_tax_inclusive_currency, c.total_payable_currency, null, c.credit_note_number, c.status, c.paid,
        c._detail_at is not null
    from teamleader_views.credit_notes c
    union all
    -- A credit note as its invoice sees it.
    select c.account, 'invoice', c.invoice_id, 'credit', abs(c.total_tax_inclusive_amount), null, null, null,
        c.invoicee_customer_id::text, c.total_tax_inclusive_currency, null, null, null, null, null, null, null
    from teamleader_views.credit_notes c
    where c.invoice_id is not null
    union all
    select l.account, 'invoice', l.invoice_id, 'line', l.total_tax_exclusive_amount, l.total_tax_inclusive_amount, null,
        null, null, l.total_tax_exclusive_currency, l.total_tax_inclusive_currency, null, null, null, null, null, null
    from teamleader_views.invoice_lines l
    union all
    select l.account, 'credit_note', l.credit_note_id, 'line', l.total_tax_exclusive_amount,
        l.total_tax_inclusive_amount, null, null, null, l.total_tax_exclusive_currency, l.total_tax_inclusive_currency,
        null, null, null, null, null, null
    from teamleader_views.credit_note_lines l
    union all
    select t.account, 'invoice', t.invoice_id, 'tax', t.taxable_amount, t.tax_amount, t.rate, null, null,
        t.taxable_currency, t.tax_currency, null, null, null, null, null, null
    from teamleader_views.invoice_taxes t
    union all
    select t.account, 'credit_note', t.credit_note_id, 'tax', t.taxable_amount, t.tax_amount, t.rate, null, null,
        t.taxable_currency, t.tax_currency, null, null, null, null, null, null
    from teamleader_views.credit_note_taxes t
    union all
    select d.account, 'invoice', d.invoice_id, 'discount', d.value, null, null, null, null, null, null, null, null,
        null, null, null, null
    from teamleader_views.invoice_discounts d
    where d.type = 'percentage'
    union all
    select d.account, 'credit_note', d.credit_note_id, 'discount', d.value, null, null, null, null, null, null, null,
        null, null, null, null, null
    from teamleader_views.credit_note_discounts d
    where d.type = 'percentage'
    union all
    select p.account, 'invoice', p.invoice_id, 'payment', p.payment_amount, null, null, null, null, p.payment_currency,
        null, null, null, null, null, null, null
    from teamleader_views.invoice_payments p
    union all
    select w.account, 'invoice', w.invoice_id, 'withheld', w.withheld_amount, null, null, null, null,
        w.withheld_currency, null, null, null, null, null, null, null
    from teamleader_views.invoice_withheld_taxes w
),
sums as (
    select f.account, f.document, f.id, max(f.number) as number, max(f.status) as status, bool_or(f.paid) as paid,
        bool_or(f.is_whole) as is_whole, max(f.customer) filter (where f.fact = 'document') as customer,
        max(f.currency_a) filter (where f.fact = 'document') as currency,
        max(f.a) filter (where f.fact = 'document') as exclusive,
        max(f.b) filter (where f.fact = 'document') as inclusive,
        max(f.c) filter (where f.fact = 'document') as payable,
        max(f.d) filter (where f.fact = 'document') as due,
        count(*) filter (where f.fact = 'line') as lines,
        sum(f.a) filter (where f.fact = 'line') as lines_exclusive,
        sum(f.b) filter (where f.fact = 'line') as lines_inclusive,
        -- How a discount on the whole document counts is not documented: several may be added, or taken in turn.
        1 - coalesce(sum(f.a) filter (where f.fact = 'discount'), 0) / 100 as added,
        exp(coalesce(sum(ln(greatest(1 - f.a / 100, 0.000001))) filter (where f.fact = 'discount'), 0)) as in_turn,
        count(*) filter (where f.fact = 'tax') as rates,
        sum(f.a) filter (where f.fact = 'tax') as taxable,
        sum(f.b) filter (where f.fact = 'tax') as tax,
        -- The tax that is furthest from its rate: how far, what it should be, what it is.
        max(array[abs(f.b - f.a * f.c), f.a * f.c, f.b]) filter (where f.fact = 'tax' and f.a * f.b * f.c is not null)
            as worst,
        coalesce(sum(f.a) filter (where f.fact = 'payment'), 0) as payments,
        coalesce(sum(f.a) filter (where f.fact = 'withheld'), 0) as withheld,
        coalesce(sum(f.a) filter (where f.fact = 'credit'), 0) as credited,
        min(f.customer) filter (where f.fact = 'credit') as first_credited,
        max(f.customer) filter (where f.fact = 'credit') as last_credited,
        min(least(f.currency_a, f.currency_b, f.currency_c, f.currency_d))
            is distinct from max(greatest(f.currency_a, f.currency_b, f.currency_c, f.currency_d)) as is_mixed
    from facts f
    group by f.account, f.document, f.id
    having bool_or(f.fact = 'document')
),
added as (
    select s.*, 0.01 * (1 + case when s.lines > 0 then s.lines else 4 end + s.rates) as tolerance
    from sums s
)
select a.account, f.finding as "check", a.document, a.id as document_id, a.number, round(f.expected, 2) as expected,
    round(f.found, 2) as found, round(f.found - f.expected, 2) as difference, a.currency, f.meaning
from added a
cross join lateral (
    values
        ('currency', a.is_mixed, 1, 2,
            'The document, its lines, its taxes, its payments or its credit notes are in more than one currency: its '
            'sums are not compared.'),
        ('lines', not a.is_mixed and a.lines > 0 and least(abs(a.exclusive - a.lines_exclusive),
                abs(a.exclusive - a.lines_exclusive * a.added), abs(a.exclusive - a.lines_exclusive * a.in_turn))
                > a.tolerance, a.lines_exclusive * a.added, a.exclusive,
            'The total without taxes is not what the lines add up to, less the discount on the document.'),
        ('lines_with_taxes', not a.is_mixed and a.lines > 0 and least(abs(a.inclusive - a.lines_inclusive),
                abs(a.inclusive - a.lines_inclusive * a.added), abs(a.inclusive - a.lines_inclusive * a.in_turn))
                > a.tolerance, a.lines_inclusive * a.added, a.inclusive,
            'The total with taxes is not what the lines add up to, less the discount on the document.'),
        ('total', not a.is_mixed and abs(a.exclusive + coalesce(a.tax, 0) - a.inclusive) > a.tolerance,
            a.exclusive + coalesce(a.tax, 0), a.inclusive, 'The total with taxes is not that without, and the taxes.'),
        ('taxable', not a.is_mixed and abs(a.taxable) - abs(a.exclusive) > a.tolerance, a.exclusive, a.taxable,
            'More is taxed than the total without taxes.'),
        ('tax_rate', not a.is_mixed and a.worst[1] > a.tolerance, a.worst[2], a.worst[3],
            'A tax is not its rate of what is taxable.'),
        ('payable', not a.is_mixed and abs(a.payable - a.inclusive) > a.tolerance
                and abs(a.payable - (a.inclusive - a.withheld)) > a.tolerance, a.inclusive, a.payable,
            'What is to be paid is neither the total with taxes nor that less what is withheld.'),
        ('due', a.document = 'invoice' and not a.is_mixed and a.is_whole and a.status is distinct from 'draft'
                and (a.due - (a.payable - a.payments) > a.tolerance
                    or a.payable - a.payments - a.credited - a.due > a.tolerance), a.payable - a.payments, a.due,
            'What is still to be paid is not what was to be paid less the payments, nor that less credit notes.'),
        ('paid', a.document = 'invoice' and a.paid and a.due > a.tolerance, 0, a.due,
            'The invoice is marked as paid, and something is still to be paid.'),
        ('unpaid', a.document = 'invoice' and not a.paid and a.status is distinct from 'draft'
                and a.due <= 0 and a.payable > a.tolerance and a.credited = 0, a.payable - a.payments, a.due,
            'The invoice is not marked as paid, and nothing is to be paid any more.'),
        ('credit_notes', a.document = 'invoice' and not a.is_mixed
                and a.credited - abs(a.inclusive) > a.tolerance, a.inclusive, a.credited,
            'The credit notes of the invoice are more than it.'),
        ('credit_note_customer', a.first_credited <> a.customer or a.last_credited <> a.customer, null, null,
            'A credit note of the invoice is of another customer.')
) as f (finding, is_so, expected, found, meaning)
where f.is_so
