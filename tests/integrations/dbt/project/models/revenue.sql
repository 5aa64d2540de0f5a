select
    date_trunc('month', invoices.invoice_date) as month,
    customers.name,
    invoices.total_tax_exclusive_currency as currency,
    sum(invoices.total_tax_exclusive) as revenue
from {{ ref('fct_invoices') }} as invoices
left join {{ ref('dim_customers') }} as customers using (customer_key)
where invoices.status <> 'draft'
group by 1, 2, 3
